// The file as a whole: superblock, objects, names.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {
namespace {

constexpr std::uint8_t kSignature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
/// As many soft links may be followed on the way to an object; libhdf5 allows 16.
constexpr int kMaxSoftLinks = 16;
constexpr std::size_t kMaxPath = 65536;

bool usable_width(int bytes) { return bytes == 2 || bytes == 4 || bytes == 8; }

}  // namespace

std::optional<std::size_t> find_superblock(std::span<const std::uint8_t> bytes) {
  for (std::size_t at = 0; at < bytes.size() && bytes.size() - at >= sizeof kSignature; at = at == 0 ? 512 : 2 * at) {
    if (std::memcmp(bytes.data() + at, kSignature, sizeof kSignature) == 0) return at;
  }
  return std::nullopt;
}

File::File(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, std::string where)
    : owner_(std::move(owner)) {
  source_.where = std::move(where);
  source_.budget = std::uint64_t{1} << 20;
  source_.bytes = bytes;
  const std::optional<std::size_t> at = find_superblock(bytes);
  if (!at) throw Error(ErrorKind::format, source_.where, "it is no HDF5 file");
  const char* what = "the superblock";
  std::uint64_t base = 0, end = 0, root = 0;
  Cursor cursor(source_, source_.bytes.subspan(*at), what);
  cursor.skip(8);
  const int version = cursor.u8();
  const auto widths = [&] {
    source_.offset_size = cursor.u8();
    source_.length_size = cursor.u8();
    if (!usable_width(source_.offset_size) || !usable_width(source_.length_size)) {
      source_.unsupported(str("addresses of ", source_.offset_size, " bytes"));
    }
  };
  if (version <= 1) {
    cursor.skip(4);  // versions of parts, all 0
    widths();
    cursor.skip(1 + 2 + 2 + 4 + (version == 1 ? 4 : 0));
    base = cursor.offset();
    cursor.offset();  // free space
    end = cursor.offset();
    cursor.offset();  // driver information
    cursor.offset();  // the root's name
    root = cursor.offset();
  } else if (version <= 3) {
    widths();
    cursor.skip(1);  // flags
    base = cursor.offset();
    cursor.offset();  // extension
    end = cursor.offset();
    root = cursor.offset();
    const std::size_t summed = cursor.position();
    if (verify_checksums && cursor.u32() != metadata_checksum(source_.bytes.subspan(*at, summed)))
      cursor.damaged("its checksum is wrong");
  } else {
    source_.unsupported(str("a superblock of version ", version));
  }
  // The file starts at its superblock, whatever that says: a block in front of it may have been added or removed since.
  // The end is counted from the start of it all.
  if (end == kUndefined || end < base) cursor.damaged("it gives no end of the file");
  const std::uint64_t size = end - base;
  if (size > bytes.size() - *at) {
    throw Error(ErrorKind::format, source_.where,
                str("cut off: this HDF5 file should have ", size, " bytes, ", bytes.size() - *at, " are there"),
                "get the file again");
  }
  writable_ = bytes.subspan(*at, static_cast<std::size_t>(size));
  source_.bytes = writable_;
  source_.budget = 8 * source_.bytes.size() + (std::uint64_t{1} << 16);
  root_ = root;
}

void File::forget() {
  messages_ = {};
  groups_ = {};
  heaps_ = {};
}

const std::vector<Message>& File::messages(std::uint64_t address) {
  const auto found = messages_.find(address);
  if (found != messages_.end()) return found->second;
  return messages_.emplace(address, read_object_header(source_, address)).first->second;
}

const Group& File::group(std::uint64_t address) {
  const auto found = groups_.find(address);
  if (found != groups_.end()) return found->second;
  Group group;
  for (const Message& message : messages(address)) {
    if (message.type == 0x02) add_dense_links(source_, message.data, group);
    if (message.type == 0x06) add_link(source_, resolve_shared(source_, message), group);
    if (message.type == 0x11) add_symbol_table(source_, message.data, group);
  }
  return groups_.emplace(address, std::move(group)).first->second;
}

bool File::is_dataset(std::uint64_t address) {
  const std::vector<Message>& all = messages(address);
  return std::any_of(all.begin(), all.end(), [](const Message& message) { return message.type == 0x08; });
}

std::vector<Attribute> File::attributes(std::uint64_t address) {
  std::vector<Attribute> result;
  for (const Message& message : messages(address)) {
    if (message.type == 0x0c) result.push_back(parse_attribute(source_, resolve_shared(source_, message)));
    if (message.type == 0x15) add_dense_attributes(source_, message.data, result);
  }
  return result;
}

std::optional<std::uint64_t> File::find(std::uint64_t from, std::string_view path) {
  std::uint64_t at = from;
  std::string rest(path);
  int soft_links = 0;
  std::size_t begin = 0;
  if (rest.starts_with('/')) at = root_;
  for (;;) {
    begin = rest.find_first_not_of('/', begin);
    if (begin == std::string::npos) return at;
    const std::size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string name = rest.substr(begin, end - begin);
    begin = end;
    if (name == ".") continue;
    source_.pay(name.size() + 1);
    if (is_dataset(at)) return std::nullopt;
    const Group& members = group(at);
    const auto found = members.links.find(name);
    if (found == members.links.end()) return std::nullopt;
    const Link& link = found->second;
    if (link.kind == LinkKind::hard) {
      at = link.address;
      continue;
    }
    if (link.kind == LinkKind::external) {
      source_.unsupported(str("a link '", name, "' into another file"), "nothing else is opened");
    }
    if (++soft_links > kMaxSoftLinks) source_.damaged(str("the links behind '", name, "' run in a circle"));
    std::string next = link.target + "/" + rest.substr(end);
    if (next.size() > kMaxPath) source_.damaged(str("the links behind '", name, "' have no end"));
    source_.pay(next.size());
    if (next.starts_with('/')) at = root_;
    rest = std::move(next);
    begin = 0;
  }
}

std::vector<std::string> File::strings(const Attribute& attribute) {
  std::vector<std::string> result;
  const std::size_t size = static_cast<std::size_t>(attribute.type.size);
  if (attribute.type.kind == Type::Kind::fixed_string) {
    source_.pay(attribute.data.size());
    for (std::size_t at = 0; at < attribute.data.size(); at += size) {
      const std::span<const std::uint8_t> one = attribute.data.subspan(at, size);
      result.emplace_back(one.begin(), std::find(one.begin(), one.end(), std::uint8_t{0}));
    }
    return result;
  }
  if (attribute.type.kind != Type::Kind::vlen_string) {
    if (attribute.count == 0) return result;  // h5py writes an empty list of texts as an empty list of numbers
    source_.damaged(str("the attribute '", attribute.name, "' has ", attribute.type.name, " instead of texts"));
  }
  Cursor cursor(source_, attribute.data, "an attribute's texts");
  for (std::uint64_t i = 0; i < attribute.count; ++i) {
    const std::uint64_t length = cursor.u32();
    const std::uint64_t address = cursor.offset();
    const std::uint32_t index = cursor.u32();
    if (length == 0) {
      result.emplace_back();
      continue;
    }
    auto heap = heaps_.find(address);
    if (heap == heaps_.end()) heap = heaps_.emplace(address, read_global_heap(source_, address)).first;
    const auto object = heap->second.find(index);
    if (object == heap->second.end()) cursor.damaged(str("one of '", attribute.name, "' is not in its heap"));
    if (length > object->second.size()) cursor.damaged(str("one of '", attribute.name, "' is longer than its place"));
    source_.pay(length);
    result.emplace_back(object->second.begin(), object->second.begin() + static_cast<std::ptrdiff_t>(length));
  }
  return result;
}

}  // namespace fovea::weights::hdf5
