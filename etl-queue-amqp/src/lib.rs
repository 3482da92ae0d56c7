//! The queue on RabbitMQ: hints that work exists, over AMQP 0-9-1.
