-- gateway.lua - libgateway for LuaJIT: WSAPI applications behind gunicorn's arbiter, by plain FFI.
--
--     local gateway = require "gateway"
--
--     assert(gateway.serve {
--         bind = "127.0.0.1:8000", workers = 2,
--         app = function(env) return 200, { ["Content-Type"] = "text/plain" }, "hello, world\n" end,
--     })
--
-- An application is called with an environ and returns a status, headers and a body:
--
--   environ   env.PATH_INFO, env.HTTP_HOST ...: CGI's variables, "" where there is none.
--             env.input:read(n): up to n octets of the body, nil at its end; without n: all the rest.
--             env.error:write(...): a line in the error log.
--   status    a number from 200 to 999, or a string that begins with one.
--   headers   a table; a value that is a table is several headers.  They are sent in the order of their names.
--   body      a string; nil; an iterator, called for a string at a time until nil (`coroutine.wrap`), which may
--             be a table with __call and a method `close`, called once; or gateway.file(path).
--
-- An error of it is a 500, or a visible cut where the answer has begun, with its traceback in the log.
--
-- A worker is a process with one Lua state and one thread: it turns the library's loop, takes the requests that
-- are there, and runs each in a coroutine.  Those wait, and let others run, where the client is slow and in
-- gateway.sleep; a call that blocks, blocks its worker.
local is_there, ffi = pcall(require, "ffi")
if not is_there then
    error("gateway.lua needs LuaJIT and its FFI, and this is " .. (jit and jit.version or _VERSION), 0)
end
local bit = require "bit"
local C = ffi.C

local gateway = {}

---- gateway.h --------------------------------------------------------------------------------------------

-- Beside this file, or where the checkout has it; GATEWAY_HEADER says otherwise.
local function header()
    local here = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
    local places = { os.getenv "GATEWAY_HEADER" or here .. "gateway.h", here .. "../../include/gateway.h",
        "/usr/local/include/gateway.h", "/usr/include/gateway.h" }
    for _, path in ipairs(places) do
        local file = io.open(path)
        if file then
            local text = file:read "*a"
            file:close()
            return text
        end
    end
    error("gateway.h is not in " .. table.concat(places, ", ") .. "; GATEWAY_HEADER can say where it is")
end

-- What the preprocessor of a C compiler would leave of it, and its numbers by their names.
local function preprocess(text)
    local numbers, lines, skipping = {}, {}, {}
    text = text:gsub("/%*.-%*/", " "):gsub("\\\n", " ")
    for line in text:gmatch "[^\n]+" do
        local directive, rest = line:match "^%s*#%s*(%a+)%s*(.*)"
        if not directive then
            if not skipping[#skipping] then
                lines[#lines + 1] = line
            end
        elseif directive:match "^if" then
            local not_c = directive == "ifdef" and rest:match "^__cplusplus" ~= nil
            skipping[#skipping + 1] = skipping[#skipping] or not_c
        elseif directive == "else" then
            skipping[#skipping] = skipping[#skipping - 1] or not skipping[#skipping]
        elseif directive == "endif" then
            skipping[#skipping] = nil
        elseif directive == "define" then
            local name, value = rest:match "^(GW_[%u%d_]+)%s+%(?([%w%-< ]+)%)?%s*$"
            local one, shift = (value or ""):match "^(1)u << (%d+)$"
            numbers[name or ""] = one and bit.lshift(1, shift) or tonumber(value)
        end
    end
    return table.concat(lines, "\n"), numbers
end

local declarations, GW = preprocess(header())
gateway.declarations, gateway.numbers = declarations, GW

ffi.cdef(declarations)
ffi.cdef [[
typedef struct gateway_pollfd { int fd; short events, revents; } gateway_pollfd;
int poll(gateway_pollfd *fds, unsigned long n, int timeout);
int open(const char *path, int flags, ...);
int close(int fd);
int64_t lseek(int fd, int64_t offset, int whence);
char *strerror(int number);
typedef struct gateway_time { long sec, nsec; } gateway_time;
int clock_gettime(int clock, gateway_time *now);
]]

-- libgateway.so, or GATEWAY_LIBRARY_DIR's.
local directory = os.getenv "GATEWAY_LIBRARY_DIR"
local lib = ffi.load((directory and directory .. "/" or "") .. "libgateway.so." .. GW.GW_ABI)

gateway.version = ffi.string(lib.gw_version())
if not gateway.version:find(("^%d%%.%d%%."):format(GW.GW_VERSION_MAJOR, GW.GW_VERSION_MINOR)) then
    error(("gateway.h is that of %d.%d, and the library %s"):format(GW.GW_VERSION_MAJOR, GW.GW_VERSION_MINOR,
        gateway.version))
end

local function sized(name)
    local it = ffi.new(name)
    it.size = ffi.sizeof(name)
    return it
end

---- waiting ----------------------------------------------------------------------------------------------

-- What a request's coroutine yields, for the loop: an event that it waits for, a time, or the next turn.  An iterator that is
-- a coroutine of its own gives it to whoever asked it for a string.
local readable = { event = GW.GW_EVENT_READABLE }
local writable = { event = GW.GW_EVENT_WRITABLE }
local turn = {}

local time = ffi.new "gateway_time"

local function now()
    C.clock_gettime(1, time) -- CLOCK_MONOTONIC
    return tonumber(time.sec) + tonumber(time.nsec) / 1e9
end

-- Seconds, in which the worker serves others.
function gateway.sleep(seconds)
    local at = now() + seconds
    if at ~= at then -- it has no place among the others, who would wait for it
        error("sleep: " .. tostring(seconds) .. " seconds", 2)
    end
    coroutine.yield { at = at }
end

local closed = {} -- an error: the client has left

local function check(rc)
    if rc == GW.GW_ERR_CLOSED then
        error(closed, 0)
    elseif rc < 0 then
        error(ffi.string(lib.gw_result_text(rc)), 3)
    end
    return rc
end

---- requests ---------------------------------------------------------------------------------------------

-- Where an environ has its request.  That has `handle`, a gw_deferred, and `raw`, its gw_environ, until the
-- answer is complete.
local REQUEST = {}

local found = ffi.new "gw_str"
local count = ffi.new "size_t[1]"
local buffer_size = 65536
local buffer = ffi.new("char[?]", buffer_size)

local environ = {}

function environ.__index(env, name)
    local raw = rawget(env, REQUEST).raw
    if type(name) ~= "string" or raw == nil or not name:match "^%u" then
        return nil
    end
    local rc = lib.gw_environ_get(raw, name, #name, found)
    local value = rc == GW.GW_OK and ffi.string(found.data, found.len) or ""
    rawset(env, name, value)
    return value
end

local input = {}
input.__index = input

function input:read(most)
    local request = self.request
    local pieces, left = {}, math.floor(most or math.huge)
    while left > 0 and request.handle do
        local rc = lib.gw_deferred_read(request.handle, buffer, math.min(left, buffer_size), count)
        if rc == GW.GW_EOF then
            break
        elseif rc == GW.GW_AGAIN then
            coroutine.yield(readable)
        else
            check(rc)
            local n = tonumber(count[0])
            if most then
                return ffi.string(buffer, n)
            end
            pieces[#pieces + 1] = ffi.string(buffer, n)
        end
    end
    if most then
        return left == 0 and "" or nil
    end
    return table.concat(pieces)
end

local function log(raw, text)
    for line in text:gmatch "[^\n]+" do
        lib.gw_log(raw, GW.GW_LOG_ERROR, line, #line)
    end
end

local errors = {}
errors.__index = errors

function errors:write(...)
    local raw = self.request.raw
    if raw then
        log(raw, table.concat { ... })
    end
end

---- answers ----------------------------------------------------------------------------------------------

local file = {}
file.__index = file

local function close_held(held)
    if held[0] >= 0 then
        C.close(held[0])
        held[0] = -1
    end
end

-- A body: the octets of a file, sent by the kernel; nil and a message if it cannot be opened.  `size` is its
-- length.
function gateway.file(path)
    if path:find "%z" then -- C would open what is before it
        return nil, ("%q: a NUL is in it"):format(path)
    end
    local fd = C.open(path, 0x80000) -- O_RDONLY | O_CLOEXEC
    if fd < 0 then
        return nil, path .. ": " .. ffi.string(C.strerror(ffi.errno()))
    end
    local held = ffi.gc(ffi.new("int[1]", fd), close_held)
    return setmetatable({ held = held, size = tonumber(C.lseek(fd, 0, 2)) }, file)
end

function file:close()
    close_held(self.held)
end

-- The chunk takes the descriptor; `release` is libc's close, whose argument is as wide as an int's register.
local close = ffi.cast("void (*)(void *)", C.close)

function file:chunk()
    local chunk = ffi.new "gw_chunk"
    chunk.fd, chunk.len, chunk.flags = self.held[0], self.size, GW.GW_CHUNK_FILE
    chunk.release, chunk.arg = close, ffi.cast("void *", ffi.cast("intptr_t", self.held[0]))
    self.held[0] = -1
    return chunk
end

-- In the order of their names: { { name, value } ... }.
local function in_order(headers)
    local names, list = {}, {}
    for name in pairs(headers or {}) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local values = headers[name]
        for _, value in ipairs(type(values) == "table" and values or { values }) do
            value = tostring(value)
            if name:find "[:\r\n]" or value:find "[\r\n]" then -- the library sees to the rest
                error(("header %q: a colon or a line break is in it"):format(name), 0)
            end
            list[#list + 1] = { name, value }
        end
    end
    return list
end

-- Lines of "Name: value".
local function block(list)
    local lines = {}
    for i, header in ipairs(list) do
        lines[i] = header[1] .. ": " .. header[2] .. "\r\n"
    end
    return table.concat(lines)
end

local function start(handle, status, list)
    local head, all = ffi.new "gw_response", ffi.new("gw_pair[?]", #list)
    for i, header in ipairs(list) do
        local pair = all[i - 1]
        pair.name.data, pair.name.len = header[1], #header[1]
        pair.value.data, pair.value.len = header[2], #header[2]
    end
    head.status, head.headers, head.header_count = status, all, #list
    check(lib.gw_deferred_start(handle, head))
end

-- All of it or nothing is taken, and what is refused is tried again when there is room.
local function write(handle, chunk)
    local rc = lib.gw_deferred_write(handle, chunk)
    while rc == GW.GW_AGAIN do
        coroutine.yield(writable)
        rc = lib.gw_deferred_write(handle, chunk)
    end
    check(rc)
end

local function write_string(handle, piece)
    local chunk = ffi.new "gw_chunk"
    chunk.data, chunk.len, chunk.flags = ffi.cast("const char *", piece), #piece, GW.GW_CHUNK_FLUSH
    write(handle, chunk)
    return piece -- which has to live until then
end

-- What an iterator gives, until its end; of what HEAD asks for, enough for the head.
local function write_all(handle, body, is_head)
    for piece in body do
        if type(piece) == "table" then
            coroutine.yield(piece) -- it waits for something
        elseif piece ~= "" then
            write_string(handle, piece)
            coroutine.yield(turn) -- it leaves, and others have their turn
            if is_head then
                return
            end
        end
    end
end

-- Gives the handle up.
local function finish(request, outcome)
    local handle = request.handle
    request.handle, request.raw = nil, nil
    lib.gw_deferred_end(handle, outcome)
end

local function answer(request, app, env)
    local status, headers, body = app(env)
    request.body = body
    status = tonumber(type(status) == "string" and status:match "^%d+" or status)
    if not status then
        error("the application returned no status", 0)
    elseif not (status >= 200 and status <= 999) then -- no answer follows a 1xx, and C would have 16 bits of it
        error(status .. " is not a status: 200 to 999", 0)
    end
    local list = in_order(headers)
    local handle = request.handle

    if body == nil or type(body) == "string" then
        local lines = block(list)
        request.handle, request.raw = nil, nil
        body = body or ""
        lib.gw_deferred_reply_flat(handle, status, lines, #lines, body, #body)
        return
    end

    start(handle, status, list)
    if getmetatable(body) == file then
        write(handle, body:chunk())
    else
        write_all(handle, body, env.REQUEST_METHOD == "HEAD")
    end
    finish(request, GW.GW_OK)
end

-- An error as text, also one whose __tostring fails.
local function said(message)
    local ok, text = pcall(tostring, message)
    return ok and type(text) == "string" and text or "an error that cannot be made text"
end

local function traceback(message)
    return message == closed and closed or debug.traceback(said(message), 2)
end

-- Takes from a request what it still has: its handle, unanswered, and its body, which is closed once.
local function drop(request, outcome)
    if request.handle then
        finish(request, outcome)
    end
    local body = request.body
    request.body = nil
    if type(body) == "table" and body.close then
        local ok, why = pcall(body.close, body)
        if not ok then
            io.stderr:write("gateway: close: ", said(why), "\n")
        end
    end
end

-- The coroutine of a request, from its first line to its last.
local function run(request, app, env)
    local _, message = xpcall(answer, traceback, request, app, env)
    if request.handle and message ~= closed then
        log(request.raw, said(message))
    end
    drop(request, GW.GW_ERR_APP)
end

---- the loop of a worker ---------------------------------------------------------------------------------

local batch = 32

local function loop(server, app)
    local waiting = {} -- requests that wait for an event, by their handle
    local timers = {}  -- { at =, request = }, the soonest last
    local soon = {}    -- requests that wait for the next turn
    local taken, events = ffi.new("gw_deferred *[?]", batch), ffi.new("gw_event[?]", batch)
    local wait_ms, watched = ffi.new "int64_t[1]", ffi.new "gateway_pollfd"

    local function resume(request, ...)
        local ok, wait = coroutine.resume(request.co, ...)
        if not ok then -- of run itself: out of memory, say
            io.stderr:write("gateway: ", said(wait), "\n")
            drop(request, GW.GW_ERR_APP)
        elseif coroutine.status(request.co) == "dead" then
            return
        elseif wait == turn then
            soon[#soon + 1] = request
        elseif type(wait) == "table" and wait.event then
            request.event = wait.event
            waiting[request.key] = request
        elseif type(wait) == "table" and wait.at then
            local i = #timers
            while i > 0 and timers[i].at <= wait.at do
                timers[i + 1] = timers[i]
                i = i - 1
            end
            timers[i + 1] = { at = wait.at, request = request }
        else
            if request.raw then -- or it was answered, and its body yields in `close`
                log(request.raw, "the application has yielded, and nobody is there to take it")
            end
            drop(request, GW.GW_ERR_APP)
        end
    end

    local function accept(handle)
        local raw = lib.gw_deferred_environ(handle)
        local request = { handle = handle, raw = raw, key = tonumber(ffi.cast("intptr_t", handle)) }
        local env = setmetatable({
            [REQUEST] = request,
            input = setmetatable({ request = request }, input),
            error = setmetatable({ request = request }, errors),
        }, environ)
        request.co = coroutine.create(run)
        resume(request, request, app, env)
    end

    local function happened(event)
        local key = tonumber(ffi.cast("intptr_t", event.d))
        local request = waiting[key]
        if request and (event.what == request.event or event.what == GW.GW_EVENT_ABORTED) then
            waiting[key] = nil
            resume(request)
        end
    end

    while true do
        local rc = lib.gw_server_turn(server, wait_ms)
        if rc == GW.GW_EOF then
            break
        end
        check(rc)

        local some = lib.gw_server_take(server, taken, batch, 0, count) == GW.GW_OK and tonumber(count[0]) or 0
        local happening = lib.gw_server_events(server, events, batch, 0, count) == GW.GW_OK
            and tonumber(count[0]) or 0
        local due = soon
        soon = {}
        while #timers > 0 and timers[#timers].at <= now() do
            due[#due + 1] = table.remove(timers).request
        end

        local busy = some > 0 or happening > 0 or #due > 0
        if busy then
            lib.gw_server_cork(server) -- the turn comes next
        end
        for i = 0, some - 1 do
            accept(taken[i])
        end
        for i = 0, happening - 1 do
            happened(events[i])
        end
        for _, request in ipairs(due) do
            resume(request)
        end

        if not busy then
            local longest = tonumber(wait_ms[0])
            if #timers > 0 then
                local until_due = math.ceil(math.max(0, timers[#timers].at - now()) * 1000)
                longest = longest < 0 and until_due or math.min(longest, until_due)
            end
            watched.fd, watched.events = lib.gw_server_fd(server), 1 -- POLLIN
            C.poll(watched, 1, math.min(longest, 0x7fffffff))
        end
    end

    for _, timer in ipairs(timers) do
        soon[#soon + 1] = timer.request
    end
    for _, request in pairs(waiting) do
        soon[#soon + 1] = request
    end
    for _, request in ipairs(soon) do -- their clients are gone
        drop(request, GW.GW_ERR_CLOSED)
    end
end

---- serving ----------------------------------------------------------------------------------------------

local function is_callable(it)
    local meta = debug.getmetatable(it)
    return type(it) == "function" or type(meta) == "table" and meta.__call ~= nil
end

-- Serves until it is told to stop.  `app` is an application, or the name of a module that returns one (or a
-- table with it as `run`), which each worker loads: then a reload (HUP) has new code.  All else are options of
-- docs/options.md, a table of values being a list.  true at the end; or nil, a message, and what the program
-- should exit with.
function gateway.serve(options)
    local app = options.app
    if type(app) ~= "string" and not is_callable(app) then
        return nil, "app: neither an application nor the name of a module", 1
    end
    local err = sized "gw_error"
    local config = lib.gw_config_new()

    local function failed()
        return nil, ffi.string(err.message), err.exit_status
    end

    for name, value in pairs(options) do
        for _, one in ipairs(name == "app" and {} or type(value) == "table" and value or { value }) do
            if lib.gw_config_set(config, name, tostring(one), err) < 0 then
                lib.gw_config_free(config)
                return failed()
            end
        end
    end

    -- What a hook does, with its error in the log and as its result.
    local callbacks = {}
    local function hook(f)
        local callback = ffi.cast("gw_result (*)(void *, const gw_worker *)", function(_, worker)
            local ok, message = xpcall(f, traceback, worker)
            if not ok then
                io.stderr:write("gateway: ", said(message), "\n")
            end
            return ok and GW.GW_OK or GW.GW_ERR_APP
        end)
        callbacks[#callbacks + 1] = callback
        return callback
    end

    local hooks = sized "gw_hooks"
    hooks.worker_init = hook(function()
        if type(app) == "string" then
            local module = require(app)
            local made = type(module) == "table" and module.run or module
            if not is_callable(made) then
                error(("module %q returns no application"):format(app), 0)
            end
            app = made
        end
    end)
    hooks.worker_run = hook(function(worker)
        loop(worker.server, app)
        io.stdout:flush() -- the process ends without it
    end)
    io.stdout:flush() -- or each worker has what is buffered, too
    local rc = lib.gw_config_hooks(config, hooks, err)
    if rc == GW.GW_OK then
        rc = lib.gw_serve(config, err) -- takes the configuration
    else
        lib.gw_config_free(config)
    end
    for _, callback in ipairs(callbacks) do
        callback:free()
    end
    if rc < 0 then
        return failed()
    end
    return true
end
-- It calls back: compiled code must not be there.
jit.off(gateway.serve)

return gateway
