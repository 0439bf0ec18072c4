#include "models/weights/tensorflow/bundle_internal.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/tensorflow/proto_internal.h"
#include "models/weights/tensorflow/table_internal.h"

namespace fovea::weights::tensorflow {
namespace {

constexpr std::int64_t kMaxShards = 100'000;  // their number has five digits in the files' names

struct Type {
  int number;
  const char* name;
  Element element;
};

/// DataType of tensorflow/core/framework/types.proto. Numbers beyond the list are newer, small floats mostly.
constexpr Type kTypes[] = {
    {1, "float32", Element::f32},
    {2, "float64", Element::f64},
    {3, "int32", Element::i32},
    {4, "uint8", Element::u8},
    {5, "int16", Element::i16},
    {6, "int8", Element::i8},
    {8, "complex64", Element::unsupported},
    {9, "int64", Element::i64},
    {10, "bool", Element::boolean},
    {11, "qint8", Element::unsupported},
    {12, "quint8", Element::unsupported},
    {13, "qint32", Element::unsupported},
    {14, "bfloat16", Element::bf16},
    {15, "qint16", Element::unsupported},
    {16, "quint16", Element::unsupported},
    {17, "uint16", Element::unsupported},
    {18, "complex128", Element::unsupported},
    {19, "float16", Element::f16},
    {22, "uint32", Element::unsupported},
    {23, "uint64", Element::unsupported},
};
constexpr int kString = 7, kResource = 20, kVariant = 21;

const Type* find_type(int number) {
  const auto* at =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& t) { return t.number == number; });
  return at == std::end(kTypes) ? nullptr : at;
}

struct Header {
  std::int64_t shards = 0;
  bool big_endian = false;
};

Header parse_header(std::span<const std::uint8_t> bytes, const std::string& where) {
  Header header;
  for (Message message(bytes, where, "header"); message.next();) {
    if (message.field() == 1) header.shards = static_cast<std::int64_t>(message.number());
    if (message.field() == 2) header.big_endian = message.number() == 1;
  }
  if (header.shards < 1 || header.shards > kMaxShards) {
    throw Error(ErrorKind::format, where, str("damaged checkpoint index: it claims ", header.shards, " data files"));
  }
  return header;
}

BundleEntry parse_entry(std::span<const std::uint8_t> bytes, const std::string& where) {
  BundleEntry entry;
  for (Message message(bytes, where, "entry"); message.next();) {
    const auto number = [&] { return static_cast<std::int64_t>(message.number()); };
    switch (message.field()) {
      case 1: entry.dtype = static_cast<int>(std::min<std::int64_t>(number() & 0xffffffff, 0x7fffffff)); break;
      case 2:
        for (Message shape(message.bytes(), where, "shape"); shape.next();) {
          if (shape.field() != 2) continue;
          std::int64_t extent = 0;
          for (Message dim(shape.bytes(), where, "shape"); dim.next();) {
            if (dim.field() == 1) extent = static_cast<std::int64_t>(dim.number());
          }
          entry.shape.push_back(extent);
        }
        break;
      case 3: entry.shard = number(); break;
      case 4: entry.offset = number(); break;
      case 5: entry.size = number(); break;
      case 6: entry.crc = message.fixed32(); break;
      case 7: entry.sliced = true; break;
      default: break;
    }
  }
  return entry;
}

}  // namespace

Bundle::Bundle(std::span<const std::uint8_t> index, const std::function<CheckpointShard(int, int)>& shard,
               const std::string& where)
    : open_shard_(shard), where_(where) {
  const std::vector<TableEntry> table = read_table(index, where);
  if (table.empty() || !table[0].first.empty()) {
    throw Error(ErrorKind::format, where, "damaged checkpoint index: it has no header");
  }
  const Header header = parse_header(table[0].second, where);
  num_shards_ = header.shards;
  big_endian_ = header.big_endian;
  for (std::size_t i = 1; i < table.size(); ++i) {
    if (table[i].first[0] == '\0') continue;  // a slice of a partitioned variable, which has an entry of its own
    entries_.emplace_hint(entries_.end(), table[i].first, parse_entry(table[i].second, where));
  }
}

void Bundle::damaged(const std::string& name, const std::string& what) const {
  throw Error(ErrorKind::format, where_, str("tensor '", name, "' ", what),
              "the checkpoint may have been cut off; copy or download it again");
}

bool Bundle::is_numbers(const BundleEntry& entry) {
  return entry.dtype != kString && entry.dtype != kResource && entry.dtype != kVariant;
}

Bundle::DataFile& Bundle::data_file(const std::string& name, std::int64_t number) {
  if (number < 0 || number >= num_shards_) damaged(name, str("lies in data file ", number, " of ", num_shards_));
  const auto known = files_.find(number);
  if (known != files_.end()) return known->second;
  DataFile opened{open_shard_(static_cast<int>(number), static_cast<int>(num_shards_))};
  return files_.emplace(number, std::move(opened)).first->second;
}

std::span<std::uint8_t> Bundle::bytes_of(const std::string& name, const BundleEntry& entry) {
  const std::span<std::uint8_t> all = data_file(name, entry.shard).shard.bytes;
  if (entry.offset < 0 || entry.size < 0 || static_cast<std::uint64_t>(entry.offset) > all.size() ||
      static_cast<std::uint64_t>(entry.size) > all.size() - static_cast<std::uint64_t>(entry.offset)) {
    damaged(name, str("lies at byte ", entry.offset, " with ", entry.size, " bytes, its data file has ", all.size()));
  }
  return all.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.size));
}

FileTensor Bundle::tensor(const std::string& name, const BundleEntry& entry) {
  FileTensor result;
  result.name = name;
  const Type* type = find_type(entry.dtype);
  const Element element = type ? type->element : Element::unsupported;
  result.dtype = dtype_of_element(element);
  std::int64_t bytes = element_size(element);
  for (const std::int64_t extent : entry.shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) damaged(name, "has an impossible shape");
  }
  const bool fits = entry.shape.size() <= static_cast<std::size_t>(Shape::kMaxRank);
  std::string unsupported;
  if (!fits) unsupported = str("has ", entry.shape.size(), " axes, ", Shape::kMaxRank, " are supported");
  if (element == Element::unsupported) {
    unsupported =
        type ? str("has elements of type ", type->name) : str("has elements of TensorFlow's type ", entry.dtype);
  }
  if (entry.sliced) unsupported = "is stored in slices (a partitioned variable)";
  if (fits) {
    try {
      result.shape = Shape(entry.shape);
    } catch (const Error&) {  // of elements without a size here the product was not bounded above
      damaged(name, "has an impossible shape");
    }
  }
  if (!unsupported.empty()) {
    result.read = [name, unsupported, where = where_]() -> Tensor {
      throw Error(ErrorKind::format, where, str("tensor '", name, "' ", unsupported),
                  "load the checkpoint in TensorFlow and save it with whole variables of a plain type");
    };
    return result;
  }
  if (bytes != entry.size) damaged(name, str("has ", entry.size, " bytes, ", result.shape, " needs ", bytes));
  const std::span<std::uint8_t> content = bytes_of(name, entry);
  DataFile& file = data_file(name, entry.shard);
  file.used += content.size();
  if (file.used > file.shard.bytes.size()) damaged(name, "overlaps other tensors");
  RawTensor raw;
  raw.shape = result.shape;
  raw.element = element;
  raw.data = content.data();
  raw.big_endian = big_endian_;
  result.read = [raw, content, name, crc = entry.crc, where = where_, owner = file.shard.owner] {
    if (masked(crc32c(content)) != crc) {
      throw Error(ErrorKind::format, where, str("tensor '", name, "' is damaged: its checksum does not match"),
                  "copy or download the checkpoint again");
    }
    return raw.read(owner);
  };
  return result;
}

std::span<const std::uint8_t> Bundle::string(const std::string& name, const BundleEntry& entry) {
  if (entry.dtype != kString || !entry.shape.empty() || entry.sliced) damaged(name, "is no single string");
  const std::span<const std::uint8_t> all = bytes_of(name, entry);
  // The length, a checksum of the lengths, the text; the entry's checksum takes the length as four or eight bytes.
  std::size_t at = 0;
  std::uint64_t length = 0;
  if (!read_varint(all, at, length) || all.size() - at < 4 || length != all.size() - at - 4) {
    damaged(name, "has another length than its entry says");
  }
  std::uint8_t spelled[sizeof length];
  std::memcpy(spelled, &length, sizeof length);
  const std::uint32_t crc = crc32c(std::span(spelled, length > 0xffffffff ? 8 : 4));
  if (masked(crc32c(all.subspan(at), crc)) != entry.crc) damaged(name, "is damaged: its checksum does not match");
  return all.subspan(at + 4);
}

}  // namespace fovea::weights::tensorflow
