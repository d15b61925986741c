-- A program in C that compares what gateway.lua has made of the header with what the compiler does.
package.path = arg[0]:gsub("[^/]*$", "") .. "../?.lua;" .. package.path
local gateway = require "gateway"
local ffi = require "ffi"

print [[
#include <gateway.h>
#include <stdio.h>

static int wrong, compared;

static void
same(const char *what, long long lua, long long c)
{
    compared++;
    if (lua != c) {
        wrong++;
        printf("%s: %lld in Lua, %lld in C\n", what, lua, c);
    }
}

int
main(void)
{]]

local function same(what, lua, c)
    print(("    same(%q, %sLL, (long long) (%s));"):format(what, tostring(lua), c))
end

for members, name in gateway.declarations:gmatch "typedef struct [%w_]+ {(.-)} ([%w_]+);" do
    same(name, ffi.sizeof(name), ("sizeof(%s)"):format(name))
    -- Of "type name[4];" and "type (*name)(type, ...);" the name.
    members = members:gsub("%(%*([%w_]+)%)%s*%b()", " %1"):gsub("%[%w*%]", "")
    for member in members:gmatch "([%w_]+)%s*;" do
        local offset = ffi.offsetof(name, member)
        assert(offset, name .. "." .. member)
        same(name .. "." .. member, offset, ("offsetof(%s, %s)"):format(name, member))
    end
end
for name, value in pairs(gateway.numbers) do
    same(name, value, name)
end

print [[
    printf("%d compared\n", compared);
    return wrong != 0 || compared < 300;
}]]
