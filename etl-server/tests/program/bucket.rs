//! A place of a test's own in the S3 server that all tests share.

use std::io::{Read, Write};
use std::net::TcpStream;

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use uuid::Uuid;

/// A prefix of its own in the bucket for tests.
pub struct Bucket {
    storage_url: String,
    endpoint: String,
}

impl Bucket {
    pub fn new() -> Self {
        let of = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: `eval $(scripts/services env)`"))
        };
        Self {
            storage_url: format!("{}/{}", of("ETL_TEST_S3_URL"), Uuid::now_v7()),
            endpoint: of("ETL_TEST_S3_ENDPOINT"),
        }
    }

    /// Removes the file at this place (`s3://BUCKET/KEY`) behind the program's back.
    pub fn remove(&self, uri: &str) {
        let (bucket, key) = uri
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap();
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .build()
            .unwrap();
        let key = Path::from_url_path(key).unwrap();
        let removing = async move {
            store.head(&key).await.unwrap();
            store.delete(&key).await.unwrap();
        };
        tokio::runtime::Runtime::new().unwrap().block_on(removing);
    }

    /// What tells the program of it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("ETL_STORAGE_URL", &self.storage_url),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }
}

/// Asks for a URL by plain HTTP, without any credentials. The status and the body.
pub fn get(url: &str) -> (u16, Vec<u8>) {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap();
    (status.parse().unwrap(), answer[head + 4..].to_vec())
}
