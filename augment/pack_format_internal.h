// The layout of a pack: the magic word, the pictures' bytes one after the other, JSON with what is said once, a record
// for each picture, the text that records point into, and a footer that says where all of this begins. Little endian,
// as every machine this library runs on. Not installed.
#pragma once

#include <cstdint>

namespace fovea::pack {

constexpr char kMagic[9] = "fovPACK1";

struct Record {
  std::uint64_t pixels = 0;  ///< offset in the file
  std::uint64_t name = 0;    ///< offset in the text; the group stands right behind the name
  std::uint32_t width = 0, height = 0, channels = 0;
  std::uint32_t label = 0, part = 0;
  std::uint32_t name_bytes = 0, group_bytes = 0;
  std::uint32_t zero = 0;
};
static_assert(sizeof(Record) == 48);

struct Footer {
  std::uint64_t json = 0, json_bytes = 0;  ///< offsets in the file
  std::uint64_t records = 0, count = 0;
  std::uint64_t text = 0, text_bytes = 0;
  char magic[8] = {};
};
static_assert(sizeof(Footer) == 56);

}  // namespace fovea::pack
