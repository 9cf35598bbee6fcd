// SPDX-License-Identifier: MIT
//
// go_echo.go: an echo server in Go, on one processor, a goroutine for each client: go_echo tcp BUFFER [messages]
//
// With `messages` each 64 bytes are answered by a write into a buffer, which goes out when no more has been read.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
)

func serve(client net.Conn, size int) {
	defer client.Close()
	buf := make([]byte, size)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if _, err = client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func serveMessages(client net.Conn, size int) {
	defer client.Close()
	reader, writer := bufio.NewReaderSize(client, size), bufio.NewWriterSize(client, size)
	message := make([]byte, 64)
	for {
		if _, err := io.ReadFull(reader, message); err != nil {
			return
		}
		if _, err := writer.Write(message); err != nil {
			return
		}
		if reader.Buffered() < len(message) && writer.Flush() != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) < 3 || os.Args[1] != "tcp" {
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	size, _ := strconv.Atoi(os.Args[2])
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		client, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		if len(os.Args) > 3 {
			go serveMessages(client, size)
		} else {
			go serve(client, size)
		}
	}
}
