module gateway-peer

go 1.22
