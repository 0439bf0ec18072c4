// Assembles weight files by hand, good and bad ones: pickles opcode by opcode, zip archives, tables. Header only: tests
// and fuzz targets share it.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/weight_file.h"

namespace writer {

template <class T>
std::string little(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// ---- pickles

inline std::string text(std::string_view s) {
  return "X" + little(static_cast<std::uint32_t>(s.size())) + std::string(s);
}
inline std::string integer(std::int32_t i) { return "J" + little(i); }
inline std::string byte(int i) { return "K" + std::string(1, static_cast<char>(i)); }
inline std::string long_integer(std::int64_t i) { return "\x8a\x08" + little(i); }
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string tuple_of(const std::vector<std::int64_t>& numbers) {
  std::string out = "(";
  for (const std::int64_t n : numbers) out += long_integer(n);
  return out + "t";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
inline std::string call(const std::string& function, const std::vector<std::string>& arguments) {
  return function + tuple(arguments) + "R";
}
inline std::string storage(std::string_view type, std::string_view key, std::int64_t numel,
                           const std::string& view = "") {
  std::vector<std::string> id = {text("storage"), global("torch", type), text(key), text("cpu"), long_integer(numel)};
  if (!view.empty()) id.push_back(view);
  return tuple(id) + "Q";
}
inline std::string tensor(const std::string& storage_, std::int64_t offset, const std::vector<std::int64_t>& sizes,
                          const std::vector<std::int64_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage_, long_integer(offset), tuple_of(sizes), tuple_of(strides), "\x89",
               global("collections", "OrderedDict") + ")R"});
}
inline std::string pickle(const std::string& body) { return "\x80\x02" + body + "."; }

// ---- zip archives

struct Member {
  std::string name, content;
  std::uint16_t method = 0;
};

inline std::string zip(const std::vector<Member>& members, bool with_crc = true) {
  std::string out, directory;
  for (const Member& m : members) {
    const auto crc = with_crc ? fovea::weights::crc32(as_bytes(m.content)) : 0u;
    const auto size = static_cast<std::uint32_t>(m.content.size());
    const auto name = static_cast<std::uint16_t>(m.name.size());
    const auto at = static_cast<std::uint32_t>(out.size());
    // An extra field pads the content to 64 bytes, as torch does.
    const auto padding = static_cast<std::uint16_t>((64 - (at + 30 + name + 4) % 64) % 64);
    const std::string common = little<std::uint16_t>(0) + little(m.method) + little<std::uint32_t>(0) + little(crc) +
                               little(size) + little(size) + little(name);
    out += "PK\3\4" + little<std::uint16_t>(20) + common + little(static_cast<std::uint16_t>(padding + 4)) + m.name +
           "FB" + little(padding) + std::string(padding, 'Z') + m.content;
    directory += "PK\1\2" + little<std::uint32_t>(20 << 16 | 20) + common + std::string(12, '\0') + little(at) + m.name;
  }
  const auto count = static_cast<std::uint16_t>(members.size());
  return out + directory + "PK\5\6" + std::string(4, '\0') + little(count) + little(count) +
         little(static_cast<std::uint32_t>(directory.size())) + little(static_cast<std::uint32_t>(out.size())) +
         std::string(2, '\0');
}

using Storages = std::vector<std::pair<std::string, std::string>>;  // key, bytes

inline std::string pytorch_zip(const std::string& body, const Storages& storages, const std::string& order = "little") {
  std::vector<Member> members = {{"archive/data.pkl", pickle(body)}, {"archive/byteorder", order}};
  for (const auto& [key, bytes] : storages) members.push_back({"archive/data/" + key, bytes});
  members.push_back({"archive/version", "3\n"});
  return zip(members);
}

/// The file before torch 1.6. `element` is the size of the storages' elements.
inline std::string pytorch_old(const std::string& body, const Storages& storages, std::size_t element = 4) {
  std::string out = pickle(std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12)) + pickle("M\xe9\x03") +
                    pickle("}" + text("little_endian") + "\x88s") + pickle(body) + "\x80\x02](";
  for (const auto& [key, bytes] : storages) out += text(key);
  out += "e.";
  for (const auto& [key, bytes] : storages) out += little(static_cast<std::int64_t>(bytes.size() / element)) + bytes;
  return out;
}

// ---- reading what was assembled

/// A copy of exactly this size on the heap, so that a sanitizer sees one byte too far.
struct Memory {
  std::shared_ptr<std::vector<std::uint8_t>> bytes;
  explicit Memory(std::string_view content)
      : bytes(std::make_shared<std::vector<std::uint8_t>>(content.begin(), content.end())) {}
};

inline fovea::weights::WeightFile read_zip(std::string_view content) {
  const Memory m(content);
  return fovea::weights::parse_pytorch_zip(*m.bytes, m.bytes, "test");
}
inline fovea::weights::WeightFile read_old(std::string_view content) {
  const Memory m(content);
  return fovea::weights::parse_pytorch_pickle(*m.bytes, m.bytes, "test");
}

/// What the error says, or nothing if there is none.
template <class Function>
std::string error_of(Function&& function) {
  try {
    function();
  } catch (const fovea::Error& e) {
    return e.what();
  }
  return "";
}

inline std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace writer
