/*
 * libfcgi.c - the same answer from libfcgi (Debian: libfcgi-dev), on a unix
 * socket.
 *
 *     libfcgi path
 */
#include <fcgiapp.h>

int
main(int argc, char **argv)
{
    FCGX_Request request;

    if (argc < 2 || FCGX_Init() != 0
        || FCGX_InitRequest(&request, FCGX_OpenSocket(argv[1], 2048), 0) != 0)
    {
        return 1;
    }
    while (FCGX_Accept_r(&request) == 0) {
        FCGX_FPrintF(request.out, "Content-Type: text/plain\r\n"
                     "Content-Length: 13\r\n\r\nhello, world\n");
        FCGX_Finish_r(&request);
    }
    return 0;
}
