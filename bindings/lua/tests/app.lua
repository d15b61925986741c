-- What test_lua.py asks: `luajit app.lua option=value ...`; with app=name the application is that module's.
package.path = arg[0]:gsub("[^/]*$", "") .. "../?.lua;" .. package.path
local gateway = require "gateway"
local ffi = require "ffi"

ffi.cdef "int getpid(void);"

local at = {}
local gate, closed = {}, 0

at["/pid"] = function()
    return 200, {}, ffi.C.getpid() .. "\n"
end

at["/env"] = function(env)
    local first = env.HTTP_X_ONE
    rawset(env, "kept", "kept")
    return "200 OK", { ["X-Kept"] = env.kept }, table.concat({ first, env.HTTP_MISSING, tostring(env.lower),
        tostring(env[1]), env.REQUEST_METHOD }, "|")
end

at["/error"] = function()
    local function deeper()
        error "thrown on purpose"
    end
    deeper()
end

at["/error table"] = function()
    error { code = 7 }
end

at["/error without text"] = function()
    error(setmetatable({}, { __tostring = function() return nil end }))
end

at["/error whose text fails"] = function()
    error(setmetatable({}, { __tostring = function() error "no text" end }))
end

at["/large status"] = function()
    return 65736, {}, "x"
end

at["/large status, streamed"] = function()
    return "65736 OK", {}, coroutine.wrap(function() coroutine.yield "x" end)
end

at["/no status"] = function()
    return nil, {}, "x"
end

at["/bad header"] = function()
    return 200, { ["X-Split"] = "a\r\nX-Injected: yes" }, "x"
end

at["/bad header, streamed"] = function()
    return 200, { ["X-Split"] = "a\r\nX-Injected: yes" }, coroutine.wrap(function() coroutine.yield "x" end)
end

at["/refused header"] = function()
    return 200, { ["X Space"] = "a" }, "x"
end

at["/bad status"] = function()
    return 7, {}, "x"
end

at["/interim status"] = function()
    return 103, {}, "x"
end

at["/file with NUL"] = function()
    return 200, {}, assert(gateway.file(arg[0] .. "\0.txt"))
end

-- Who sleeps for no number of seconds is told so, and holds up nobody who sleeps.
at["/no seconds"] = function()
    gateway.sleep(0 / 0)
    return 200, {}, "x"
end

at["/cut"] = function()
    return 200, {}, coroutine.wrap(function()
        coroutine.yield "first"
        error "in the stream"
    end)
end

at["/yields"] = function()
    coroutine.yield "to nobody"
    return 200, {}, "x"
end

at["/log"] = function(env)
    env.error:write("a line", " of the application\n")
    return 200, {}, "x"
end

at["/read"] = function(env)
    local pieces = {}
    for piece in function() return env.input:read(10) end do
        pieces[#pieces + 1] = "<" .. piece .. ">"
    end
    assert(env.input:read(1) == nil and env.input:read() == "")
    return 200, {}, table.concat(pieces)
end

at["/all"] = function(env)
    local first = env.input:read(3) or ""
    return 200, {}, first .. "," .. #env.input:read()
end

-- Echoes what comes while it comes.
at["/through"] = function(env)
    return 200, {}, function() return env.input:read(65536) end
end

-- Answers when /open was asked: by a worker that went on meanwhile.
at["/wait"] = function(env)
    local name = env.QUERY_STRING
    gate[name] = gate[name] or "waits"
    while gate[name] ~= "open" do
        gateway.sleep(0.002)
    end
    return 200, {}, "opened\n"
end

at["/waits"] = function(env)
    return 200, {}, gate[env.QUERY_STRING] or "nobody"
end

at["/open"] = function(env)
    local before = gate[env.QUERY_STRING] or "nobody"
    if before == "waits" then
        gate[env.QUERY_STRING] = "open"
    end
    return 200, {}, before
end

local endless = setmetatable({}, { __call = function() return ("x"):rep(10000) end })
function endless.close()
    closed = closed + 1
end

at["/endless"] = function()
    return 200, {}, endless
end

local foreign = setmetatable({ close = endless.close }, { __call = function() coroutine.yield "to nobody" end })

at["/foreign"] = function()
    return 200, {}, foreign
end

-- It says when it is closed.
at["/sleeps"] = function()
    local body = { close = function() io.stderr:write "a body is closed\n" end }
    return 200, {}, setmetatable(body, {
        __call = function(self)
            if self.begun then
                gateway.sleep(1000)
            end
            self.begun = true
            return "begun"
        end,
    })
end

at["/half"] = function(env)
    return 200, {}, tostring(env.input:read(0.5)) .. "," .. env.input:read(2.5)
end

at["/closed"] = function()
    return 200, {}, tostring(closed)
end

at["/file"] = function()
    return 200, {}, assert(gateway.file(arg[0]))
end

at["/files"] = function(env)
    if env.QUERY_STRING == "lost" then
        gateway.file(arg[0])
        error "after a file was opened"
    elseif env.QUERY_STRING == "bad" then
        return nil, {}, assert(gateway.file(arg[0]))
    end
    collectgarbage()
    local listing = io.popen(("ls -l /proc/%d/fd"):format(ffi.C.getpid()))
    local _, open = listing:read("*a"):gsub("/app%.lua\n", "")
    listing:close()
    return 200, {}, tostring(open)
end

at["/hold"] = function(env)
    local file = gateway.file(arg[0])
    at["/wait"](env)
    return 200, {}, file
end

at["/no file"] = function()
    return 200, {}, assert(gateway.file "/nonexistent/file")
end

at["/memory"] = function()
    collectgarbage()
    return 200, {}, tostring(math.floor(collectgarbage "count"))
end

local options = {
    app = function(env)
        return at[env.PATH_INFO](env)
    end,
}
for _, option in ipairs(arg) do
    local name, value = option:match "^(.-)=(.*)$"
    options[name] = options[name] and name ~= "app" and { options[name], value } or value
end
local ok, message, status = gateway.serve(options)
if not ok then
    io.stderr:write("app: ", message, "\n")
    os.exit(status)
end
