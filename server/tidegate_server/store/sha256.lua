-- SHA-256 (FIPS 180-4), for scripts: Redis gives them SHA-1 only.
--
-- Each script that needs it is loaded with this file before it.

local sha256_rounds = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
  0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
  0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
  0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
  0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
  0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
  0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
  0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
}

-- Return the hash of a text in hex.
local function sha256(text)
  local tobit, band, bnot, bxor = bit.tobit, bit.band, bit.bnot, bit.bxor
  local ror, rshift = bit.ror, bit.rshift
  local length = #text
  local padded = text .. '\128' .. string.rep('\0', (55 - length) % 64)
    .. struct.pack('>I4I4', math.floor(length / 536870912), length * 8 % 4294967296)
  local state = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  }
  local words = {}
  for start = 1, #padded, 64 do
    for index = 1, 16 do
      words[index] = tobit(struct.unpack('>I4', padded, start + (index - 1) * 4))
    end
    for index = 17, 64 do
      local two, fifteen = words[index - 2], words[index - 15]
      words[index] = tobit(words[index - 16] + words[index - 7]
        + bxor(ror(fifteen, 7), ror(fifteen, 18), rshift(fifteen, 3))
        + bxor(ror(two, 17), ror(two, 19), rshift(two, 10)))
    end
    local a, b, c, d = state[1], state[2], state[3], state[4]
    local e, f, g, h = state[5], state[6], state[7], state[8]
    for index = 1, 64 do
      local first = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25))
        + bxor(band(e, f), band(bnot(e), g)) + sha256_rounds[index] + words[index]
      local second = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
        + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e = g, f, e, tobit(d + first)
      d, c, b, a = c, b, a, tobit(first + second)
    end
    local added = {a, b, c, d, e, f, g, h}
    for index = 1, 8 do
      state[index] = tobit(state[index] + added[index])
    end
  end
  local hex = {}
  for index = 1, 8 do
    hex[index] = bit.tohex(state[index])
  end
  return table.concat(hex)
end
