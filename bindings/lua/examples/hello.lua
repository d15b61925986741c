-- hello.lua - the program of the README: an application, a stream, two pre-forked workers.
--
--     luajit hello.lua [address]
--
--     curl -i http://127.0.0.1:8000/            curl -N http://127.0.0.1:8000/clock
package.path = arg[0]:gsub("[^/]*$", "") .. "../?.lua;" .. package.path
local gateway = require "gateway"

local plain = { ["Content-Type"] = "text/plain" }

local function clock()
    for second = 1, 10 do
        gateway.sleep(1) -- others are served meanwhile
        coroutine.yield(second .. "\n")
    end
end

local function app(env)
    if env.PATH_INFO == "/clock" then
        return 200, plain, coroutine.wrap(clock)
    end
    return 200, plain, "hello, " .. env.REMOTE_ADDR .. "\n"
end

local ok, message, status = gateway.serve { app = app, bind = arg[1] or "127.0.0.1:8000", workers = 2 }
if not ok then
    io.stderr:write(message, "\n")
    os.exit(status)
end
