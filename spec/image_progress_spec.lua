-- What engines stream while they work, and what registries make them say.
local base64 = require "moonsand.base64"
local progress = require "moonsand.image.progress"
local text = require "moonsand.text"

local function read(bytes, size, on_object)
  local events = {}
  local feed, finish = progress.reader(function(event)
    events[#events + 1] = event
  end, "pull", on_object)
  for from = 1, #bytes, size or #bytes do
    feed(bytes:sub(from, from + (size or #bytes) - 1))
  end
  return events, finish()
end

describe("a progress stream", function()
  local stream = '{"status":"Pulling from a/b","id":"1"}\r\n'
    .. '{"status":"Downloading","progressDetail":{"current":5,"total":10},"progress":"[=> ]","id":"7146bb900125"}\r\n'
    .. '\n{"status":"Pushing","progressDetail":{"current":5,"total":-1}}\n{"stream":"Step 1/2 : FROM a\\n"}'

  it("comes in any pieces", function()
    local want = {
      { phase = "pull", id = "1", status = "Pulling from a/b" },
      { phase = "pull", id = "7146bb900125", status = "Downloading", current = 5, total = 10 },
      { phase = "pull", status = "Pushing", current = 5 },
      { phase = "pull", status = "Step 1/2 : FROM a" },
    }
    for size = 1, #stream do
      local events, failure = read(stream, size)
      assert.same(want, events)
      assert.is_nil(failure)
    end
  end)

  it("has failed when an object says so, whatever the status was", function()
    local events, failure = read(stream .. "\n"
      .. '{"errorDetail":{"code":7,"message":"a\\u001b[31m went\\nwrong"},"error":"x"}\n{"status":"after"}')
    assert.equal(4, #events)
    assert.same({ message = "a [31m went wrong", code = "engine", exit_code = 7 }, failure)
    for line, message in pairs {
      ['{"error":"only this"}'] = "only this", ['{"errorDetail":{}}'] = "no reason given",
      ['{"error":5}'] = "no reason given", ['{"errorDetail":{"message":[1]},"error":"that"}'] = "that",
    } do
      failure = select(2, read(line))
      assert.equal(message, failure.message, line)
    end
  end)

  it("hands on nothing that drives a terminal or has another type", function()
    local events = read('{"status":"a\\u001b[2J\\u009b\\u202e","id":"x\\ny"}\n{"status":{"a":1}}\n{"status":"s","id":7,'
      .. '"progressDetail":{"current":"1","total":1.5}}\n{"status":"t","progressDetail":[]}\n[1]\n"x"\nnull\nnoise{\n')
    assert.same({
      { phase = "pull", id = "x y", status = "a [2J" }, { phase = "pull", status = "s" },
      { phase = "pull", status = "t" },
    }, events)
    events = read('{"status":"' .. ("x"):rep(5000) .. '"}')
    assert.equal(403, #events[1].status)
  end)

  it("is bounded: a line without an end is a failure", function()
    local feed, finish = progress.reader(nil, "pull")
    local piece = ("x"):rep(1 << 20)
    for _ = 1, 20 do
      feed(piece)
    end
    assert.equal("protocol", finish().code)
    collectgarbage()
    local before = collectgarbage "count"
    feed, finish = progress.reader(nil, "pull")
    for _ = 1, 300000 do
      feed "x"
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 2000)
    assert.is_nil(finish())
  end)

  it("raises what the callback raises", function()
    local feed = progress.reader(function()
      error("mine", 0)
    end, "pull")
    assert.has_error(function()
      feed '{"status":"a"}\n'
    end, "mine")
  end)
end)

describe("what engines say of registries", function()
  it("has a code", function()
    local cases = {
      denied = {
        "unauthorized: authentication required", "no basic auth credentials",
        "initializing source docker://h/a:1: reading manifest 1 in h/a: unauthorized: authentication required",
        "pull access denied for x/y, repository does not exist or may require 'docker login': denied: requested access "
          .. "to the resource is denied",
        "Get \"https://h/v2/\": unauthorized: incorrect username or password",
      },
      not_found = {
        "manifest for h:5000/a/b:nope not found: manifest unknown: manifest unknown",
        "reading manifest nope in h/a: manifest unknown: manifest unknown", "No such image: a:1",
        "failed to find image a: docker.io/library/a: image not known",
        "An image does not exist locally with the tag: a; it was not found",
      },
      unreachable = {
        "Get \"https://h:5001/v2/\": dial tcp 198.18.1.1:5001: connect: connection refused",
        "dial tcp: lookup h on 10.0.0.1:53: no such host", "x509: certificate signed by unknown authority",
        "Get \"https://h/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while "
          .. "awaiting headers)", "unexpected EOF", "toomanyrequests: You have reached your pull rate limit",
        "received unexpected HTTP status: 503 Service Unavailable",
      },
      engine = { "something else", "no space left on device", "open /x/bin/json: no such file or directory" },
    }
    for code, messages in pairs(cases) do
      for _, message in ipairs(messages) do
        assert.equal(code, progress.code(message), message)
      end
    end
    assert.equal("conflict", progress.code("something else", "conflict"))
  end)
end)

describe("harmless text", function()
  it("is one line without what is not seen", function()
    assert.equal("a b c", text.harmless " a\r\n\t b\0\27\127c ")
    assert.equal("ab", text.harmless "a\u{9b}\u{202e}\u{200b}\u{feff}b")
    assert.equal("grüß 日本", text.harmless "grüß 日本")
    assert.equal("a\u{FFFD}b", text.harmless "a\xffb")
    assert.equal("", text.harmless "")
  end)

  it("is cut at a whole character", function()
    assert.equal("ab...", text.harmless("abcd", 2))
    assert.equal("a...", text.harmless("aé", 2))
    assert.equal("aé", text.harmless("aé", 3))
    assert.is_true(#text.harmless(("\xf0\x9f\x98\x80"):rep(1 << 18), 50) <= 53)
    assert.is_nil(text.maybe(5))
    assert.is_nil(text.maybe "\n")
  end)
end)

describe("base64", function()
  it("is what RFC 4648 says", function()
    for plain, coded in pairs {
      [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy",
      ["\xfb\xff\xfe"] = "+//+",
    } do
      assert.equal(coded, base64.encode(plain))
      assert.equal(plain, base64.decode(coded))
      assert.equal(plain, base64.decode((coded:gsub("=", ""))))
      assert.equal(plain, base64.decode(base64.encode_url(plain)))
    end
    assert.equal("-__-", base64.encode_url "\xfb\xff\xfe")
    for _, bad in ipairs { "a", "ab=c", "a*bc", "abcde", "====" } do
      assert.is_nil((base64.decode(bad)), bad)
    end
    local all = {}
    for i = 0, 255 do
      all[#all + 1] = string.char(i)
    end
    all = table.concat(all)
    assert.equal(all, base64.decode(base64.encode(all)))
  end)
end)
