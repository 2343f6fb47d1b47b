import { readFileSync, writeFileSync } from 'node:fs'
import type { LuaApi, LuaState } from './engine.ts'

/**
 * Files of scripts, as Lua code over two functions of ours: whole files are read when they are opened, and written when
 * they are closed or flushed. Standard input is empty, and there are no other programs to talk to.
 */
export const FILES = `
local read_file, write_file, print_bytes = native.readFile, native.writeFile, io.write
local File = {}
File.__index = File
File.__name = "FILE*"
File.__tostring = function(f) return f.closed and "file (closed)" or "file (0x1)" end
local open_file = function(path, mode)
  mode = mode or "r"
  local kind = string.match(mode, "^([rwa]%+?)b?$")
  if not kind then error("bad argument #2 to 'open' (invalid mode)", 2) end
  local data, message, code = "", nil, nil
  if kind ~= "w" and kind ~= "w+" then
    data, message, code = read_file(path)
    if data == nil then
      if string.sub(kind, 1, 1) == "r" then return nil, message, code end
      data = ""
    end
  else
    local ok
    ok, message, code = write_file(path, "")
    if not ok then return nil, message, code end
  end
  local writes = kind ~= "r"
  return setmetatable({ path = path, data = data, at = 1, writes = writes, append = string.sub(kind, 1, 1) == "a" }, File)
end
local function check(f)
  if f.closed then error("attempt to use a closed file", 3) end
end
local function read_one(f, format)
  if type(format) == "number" then
    if format == 0 then return f.at <= #f.data and "" or nil end
    local part = string.sub(f.data, f.at, f.at + format - 1)
    f.at = f.at + #part
    return part ~= "" and part or nil
  end
  format = string.gsub(format, "^%*", "")
  local kind = string.sub(format, 1, 1)
  if kind == "a" then
    local part = string.sub(f.data, f.at)
    f.at = #f.data + 1
    return part
  elseif kind == "n" then
    local from, to = string.find(f.data, "^%s*[-+]?[%dxXa-fA-F.]+", f.at)
    if not from then return nil end
    f.at = to + 1
    return tonumber(string.sub(f.data, from, to))
  elseif kind == "l" or kind == "L" then
    if f.at > #f.data then return nil end
    local stop = string.find(f.data, "\\n", f.at, true) or #f.data + 1
    local line = string.sub(f.data, f.at, kind == "L" and stop or stop - 1)
    f.at = stop + 1
    return line
  end
  error("bad argument #1 to 'read' (invalid format)", 3)
end
function File:read(...)
  check(self)
  local n = select("#", ...)
  if n == 0 then return read_one(self, "l") end
  local out = {}
  for i = 1, n do
    out[i] = read_one(self, (select(i, ...)))
    if out[i] == nil then return unpack(out, 1, i) end
  end
  return unpack(out, 1, n)
end
function File:lines(...)
  check(self)
  local formats = { ... }
  return function() return self:read(unpack(formats)) end
end
function File:write(...)
  check(self)
  if self.print then print_bytes(...) return self end
  if not self.writes then return nil, "Bad file descriptor", 9 end
  for i = 1, select("#", ...) do
    local part = tostring((select(i, ...)))
    if self.append then self.at = #self.data + 1 end
    self.data = string.sub(self.data, 1, self.at - 1) .. part .. string.sub(self.data, self.at + #part)
    self.at = self.at + #part
    self.changed = true
  end
  return self
end
function File:seek(whence, offset)
  check(self)
  local from = whence == "set" and 0 or whence == "end" and #self.data or self.at - 1
  self.at = from + (offset or 0) + 1
  return self.at - 1
end
function File:setvbuf() return true end
function File:flush()
  check(self)
  if self.changed then
    self.changed = false
    local ok, message, code = write_file(self.path, self.data)
    if not ok then return nil, message, code end
  end
  return true
end
function File:close()
  local ok, message, code = self:flush()
  self.closed = true
  return ok, message, code
end
local std = function(prints) return setmetatable({ data = "", at = 1, writes = true, print = prints }, File) end
local input, output = std(false), std(true)
io.stdin, io.stdout, io.stderr = input, output, std(true)
io.open = open_file
io.lines = function(path, ...)
  if path == nil then return input:lines(...) end
  local f, message = open_file(path)
  if not f then error(message, 2) end
  return f:lines(...)
end
io.read = function(...) return input:read(...) end
io.write = function(...) return output:write(...) end
io.close = function(f) return (f or output):close() end
io.flush = function() return output:flush() end
io.input = function(f) if f then input = type(f) == "string" and assert(open_file(f)) or f end return input end
io.output = function(f) if f then output = type(f) == "string" and assert(open_file(f, "w")) or f end return output end
io.type = function(f) if getmetatable(f) ~= File then return nil end return f.closed and "closed file" or "file" end
io.popen = function() error("'popen' not supported", 2) end
io.tmpfile = function() return nil, "Operation not permitted", 1 end
os.execute = function(command) if command == nil then return false end return nil, "exit", 1 end
`

const WORDS: Readonly<Record<string, readonly [string, number]>> = {
  ENOENT: ['No such file or directory', 2],
  EACCES: ['Permission denied', 13],
  EISDIR: ['Is a directory', 21],
  ENOTDIR: ['Not a directory', 20],
}

function attempt(api: LuaApi, L: LuaState, path: string, run: () => string | true): number {
  try {
    const result = run()
    if (result === true) api.lua.lua_pushboolean(L, true)
    else api.string(L, result)
    return 1
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const [words, number] = WORDS[code] ?? [message, 5]
    api.lua.lua_pushnil(L)
    api.string(L, `${path}: ${words}`)
    api.lua.lua_pushnumber(L, number)
    return 3
  }
}

/** Reads a whole file: its bytes, or nil, C's words and the error's number. */
export function readFile(api: LuaApi, L: LuaState): number {
  const path = api.stringArg(L, 1)
  return attempt(api, L, path, () => readFileSync(Buffer.from(path, 'latin1').toString(), 'latin1'))
}

/** Writes a whole file: true, or as above. */
export function writeFile(api: LuaApi, L: LuaState): number {
  const path = api.stringArg(L, 1)
  const data = Buffer.from(api.stringArg(L, 2), 'latin1')
  return attempt(api, L, path, () => {
    writeFileSync(Buffer.from(path, 'latin1').toString(), data)
    return true
  })
}
