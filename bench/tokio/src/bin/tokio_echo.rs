// SPDX-License-Identifier: MIT
//
// tokio_echo.rs: an echo server on tokio, one thread, a task for each client: tokio_echo tcp BUFFER

use std::env;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(mut client: TcpStream, size: usize) {
    let mut buf = vec![0u8; size];
    while let Ok(n) = client.read(&mut buf).await {
        if n == 0 || client.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

async fn accept(size: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        tokio::spawn(serve(client, size));
    }
}

fn main() {
    let words: Vec<String> = env::args().collect();
    if words.len() != 3 || words[1] != "tcp" {
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(accept(words[2].parse().unwrap()));
}
