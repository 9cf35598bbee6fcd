// SPDX-License-Identifier: MIT
//
// asio_echo.cpp: an echo server on Asio, callbacks in one thread: asio_echo tcp BUFFER

#include <asio.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

using asio::ip::tcp;

namespace
{

class session : public std::enable_shared_from_this<session>
{
  public:
    session(tcp::socket socket, std::size_t size) : socket_(std::move(socket)), buf_(size)
    {
    }

    void read()
    {
        socket_.async_read_some(asio::buffer(buf_),
                                [self = shared_from_this()](std::error_code error, std::size_t n) {
                                    if (!error)
                                        self->write(n);
                                });
    }

  private:
    void write(std::size_t n)
    {
        asio::async_write(socket_, asio::buffer(buf_.data(), n),
                          [self = shared_from_this()](std::error_code error, std::size_t) {
                              if (!error)
                                  self->read();
                          });
    }

    tcp::socket socket_;
    std::vector<char> buf_;
};

void accept(tcp::acceptor &acceptor, std::size_t size)
{
    acceptor.async_accept([&acceptor, size](std::error_code error, tcp::socket client) {
        if (!error) {
            client.set_option(tcp::no_delay(true));
            std::make_shared<session>(std::move(client), size)->read();
        }
        accept(acceptor, size);
    });
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 3 || std::strcmp(argv[1], "tcp") != 0)
        return 2;
    asio::io_context context(1);
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    std::printf("%d\n", acceptor.local_endpoint().port());
    std::fflush(stdout);
    accept(acceptor, static_cast<std::size_t>(std::atol(argv[2])));
    context.run();
}
