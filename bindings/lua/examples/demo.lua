-- demo.lua - a little of everything: examples/demo.c in Lua, whose answers are the same octet by octet.
--
--     luajit demo.lua 127.0.0.1:8000 demo.lua
--
--     curl -i http://127.0.0.1:8000/            (environ, echo, count, later, headers, file, fail)
package.path = arg[0]:gsub("[^/]*$", "") .. "../?.lua;" .. package.path
local gateway = require "gateway"

local address, path = arg[1], arg[2]
if not path then
    io.stderr:write "usage: demo.lua address file\n"
    os.exit(2)
end

local plain = { ["Content-Type"] = "text/plain" }
local names = { "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH",
    "SERVER_PROTOCOL", "REMOTE_ADDR", "HTTP_HOST", "HTTP_X_DEMO" }
local at = {}

at["/"] = function()
    return 200, plain, "hello, world\n"
end

at["/environ"] = function(env)
    local lines = {}
    for i, name in ipairs(names) do
        lines[i] = name .. "=" .. env[name] .. "\n"
    end
    return 200, plain, table.concat(lines)
end

at["/echo"] = function(env)
    local type = env.CONTENT_TYPE ~= "" and env.CONTENT_TYPE or "application/octet-stream"
    return 200, { ["Content-Type"] = type }, env.input:read()
end

at["/count"] = function()
    return 200, plain, coroutine.wrap(function()
        for left = 10, 1, -1 do
            coroutine.yield(left .. "\n")
        end
    end)
end

at["/later"] = function()
    gateway.sleep(0.01) -- others are served meanwhile
    return 200, plain, "at last\n"
end

at["/headers"] = function()
    return 204, { ["X-Demo"] = "yes", ["Set-Cookie"] = { "a=1; Path=/", "b=2; Path=/" } }
end

at["/file"] = function()
    local file = assert(gateway.file(path))
    return 200, { ["Content-Length"] = file.size, ["Content-Type"] = "application/octet-stream" }, file
end

at["/fail"] = function()
    error "as it was asked to"
end

local function app(env)
    local handler = at[env.PATH_INFO]
    if not handler then
        return 404, plain, "not found\n"
    end
    return handler(env)
end

local ok, message, status = gateway.serve { app = app, bind = address, workers = 2 }
if not ok then
    io.stderr:write("demo: ", message, "\n")
    os.exit(status)
end
