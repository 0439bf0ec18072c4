#include "models/weights/zip_index_internal.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace fovea::weights {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                        kLocator64 = 0x07064b50;
constexpr std::uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;

}  // namespace

void ZipIndex::damaged(const std::string& what) const {
  throw Error(ErrorKind::format, where_, str("damaged zip archive: ", what),
              "it may have been cut off; copy or download it again");
}

std::uint64_t ZipIndex::number(std::uint64_t at, int width) const {
  const auto bytes = static_cast<std::uint64_t>(width);
  if (bytes_.size() < bytes || at > bytes_.size() - bytes) damaged("a header reaches beyond the end");
  std::uint64_t value = 0;
  std::memcpy(&value, bytes_.data() + at, static_cast<std::size_t>(bytes));
  return value;
}

ZipIndex::ZipIndex(std::span<std::uint8_t> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {
  if (bytes_.size() < kEndSize) damaged("it is shorter than an empty one");
  // The end record is last but for a comment of at most 65 535 bytes.
  std::uint64_t end = bytes_.size() - kEndSize;
  const std::uint64_t lowest = end > 0xffff ? end - 0xffff : 0;
  while (number(end, 4) != kEnd || number(end + 20, 2) != bytes_.size() - end - kEndSize) {
    if (end == lowest) damaged("its end record is missing");
    --end;
  }
  std::uint64_t disks = number(end + 4, 2) | number(end + 6, 2);
  std::uint64_t count = number(end + 10, 2), size = number(end + 12, 4), offset = number(end + 16, 4);
  if (end >= kLocatorSize && number(end - kLocatorSize, 4) == kLocator64) {
    const std::uint64_t at = number(end - kLocatorSize + 8, 8);
    if (end - kLocatorSize < kEnd64Size || at > end - kLocatorSize - kEnd64Size || number(at, 4) != kEnd64) {
      damaged("its zip64 end record is missing");
    }
    disks = number(at + 16, 4) | number(at + 20, 4);
    count = number(at + 32, 8);
    size = number(at + 40, 8);
    offset = number(at + 48, 8);
    end = at;
  }
  if (disks != 0) damaged("it is a part of several");
  if (offset > end || size > end - offset) damaged("its directory reaches beyond its end record");
  read_directory(offset, size, count);
}

void ZipIndex::read_directory(std::uint64_t offset, std::uint64_t size, std::uint64_t count) {
  directory_ = offset;
  if (count > size / kCentralSize) damaged(str("its directory of ", size, " bytes claims ", count, " members"));
  members_.reserve(static_cast<std::size_t>(count));
  const std::uint64_t end = offset + size;
  std::uint64_t at = offset;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (end - at < kCentralSize || number(at, 4) != kCentralHeader) damaged("its directory ends too early");
    ZipMember member;
    member.flags = static_cast<std::uint16_t>(number(at + 8, 2));
    member.method = static_cast<std::uint16_t>(number(at + 10, 2));
    member.crc = static_cast<std::uint32_t>(number(at + 16, 4));
    std::uint64_t stored = number(at + 20, 4);
    member.size = number(at + 24, 4);
    const std::uint64_t name = number(at + 28, 2), extra = number(at + 30, 2), comment = number(at + 32, 2);
    member.header_offset = number(at + 42, 4);
    if (end - at - kCentralSize < name + extra + comment) damaged("its directory ends too early");
    member.name = {reinterpret_cast<const char*>(bytes_.data() + at + kCentralSize), static_cast<std::size_t>(name)};

    // The zip64 field holds, in this order, those of the numbers that do not fit their 32 bits.
    for (std::uint64_t field = at + kCentralSize + name, last = field + extra; last - field >= 4;) {
      const std::uint64_t id = number(field, 2), length = number(field + 2, 2);
      field += 4;
      if (length > last - field) damaged("a member's extra field is too long");
      if (id == 1) {
        std::uint64_t from = field;
        for (std::uint64_t* value : {&member.size, &stored, &member.header_offset}) {
          if (*value != 0xffffffff) continue;
          if (field + length - from < 8) damaged("a member's zip64 field is too short");
          *value = number(from, 8);
          from += 8;
        }
      }
      field += length;
    }
    if (member.method == 0 && stored != member.size) damaged(str("member '", member.name, "' has two sizes"));
    members_.push_back(member);
    at += kCentralSize + name + extra + comment;
  }
  std::sort(members_.begin(), members_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < members_.size(); ++i) {
    if (members_[i].name == members_[i - 1].name) damaged(str("member '", members_[i].name, "' occurs twice"));
  }
}

const ZipMember* ZipIndex::find(std::string_view name) const {
  const auto at = std::lower_bound(members_.begin(), members_.end(), name,
                                   [](const ZipMember& m, std::string_view wanted) { return m.name < wanted; });
  return at != members_.end() && at->name == name ? &*at : nullptr;
}

std::span<std::uint8_t> ZipIndex::content(const ZipMember& member) const {
  if (member.flags & 1) throw Error(ErrorKind::format, where_, str("member '", member.name, "' is encrypted"));
  if (member.method != 0) {
    throw Error(
        ErrorKind::format, where_,
        str("member '", member.name, "' is compressed (method ", member.method, "), which is not read in place"),
        "unpack the archive and pack it again with zip -0");
  }
  const std::uint64_t header = member.header_offset;
  if (header > directory_ || directory_ - header < kLocalSize || number(header, 4) != kLocalHeader) {
    damaged(str("member '", member.name, "' is not where the directory says"));
  }
  const std::uint64_t name = number(header + 26, 2), extra = number(header + 28, 2);
  const std::uint64_t room = directory_ - header - kLocalSize;
  if (name + extra > room || member.size > room - name - extra) {
    damaged(str("member '", member.name, "' reaches into the directory"));
  }
  const auto* spelled = reinterpret_cast<const char*>(bytes_.data() + header + kLocalSize);
  if (std::string_view(spelled, static_cast<std::size_t>(name)) != member.name) {
    damaged(str("member '", member.name, "' has another name in its place"));
  }
  return bytes_.subspan(static_cast<std::size_t>(header + kLocalSize + name + extra),
                        static_cast<std::size_t>(member.size));
}

}  // namespace fovea::weights
