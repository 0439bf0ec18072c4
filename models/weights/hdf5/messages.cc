// The messages of object headers that say what a dataset or an attribute is.
#include <algorithm>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {

namespace {
constexpr int kMaxRank = 32;  // HDF5's own limit
}

Dataspace parse_dataspace(Source& source, std::span<const std::uint8_t> data) {
  Cursor cursor(source, data, "a dataspace");
  const int version = cursor.u8();
  const int rank = cursor.u8();
  const int flags = cursor.u8();
  if (version < 1 || version > 2) cursor.damaged("unknown version");
  if (rank > kMaxRank) cursor.damaged(str("it has ", rank, " dimensions"));
  Dataspace space;
  if (version == 1) {
    cursor.skip(5);
  } else {
    space.null = cursor.u8() == 2;
  }
  for (int i = 0; i < rank; ++i) space.dims.push_back(cursor.length());
  space.max_dims = space.dims;
  if (flags & 1) {
    const std::uint64_t unlimited = kUndefined >> (64 - 8 * source.length_size);
    for (std::uint64_t& extent : space.max_dims) {
      extent = cursor.length();
      if (extent == unlimited) extent = kUndefined;
    }
  }
  return space;
}

Type parse_type(Source& source, std::span<const std::uint8_t> data) {
  Cursor cursor(source, data, "a datatype");
  const int head = cursor.u8();
  const std::uint32_t bits = static_cast<std::uint32_t>(cursor.sized(3));
  Type type;
  type.size = cursor.u32();
  if (head >> 4 < 1 || head >> 4 > 5) cursor.damaged("unknown version");
  if (type.size == 0) cursor.damaged("its elements have no size");
  switch (head & 15) {
    case 0: {
      type.name = "integers";
      type.big_endian = (bits & 1) != 0;
      type.is_signed = (bits & 8) != 0;
      const bool whole = cursor.u16() == 0 && cursor.u16() == 8 * type.size;
      if (whole && (type.size == 1 || type.size == 2 || type.size == 4 || type.size == 8)) {
        type.kind = Type::Kind::integer;
      }
      break;
    }
    case 1: {
      type.name = "floating-point numbers of an unusual kind";
      type.big_endian = (bits & 1) != 0;
      const std::uint64_t sign = bits >> 8 & 0xff;
      const bool implied = (bits >> 4 & 3) == 2;
      const bool whole = cursor.u16() == 0 && cursor.u16() == 8 * type.size;
      const int exponent_at = cursor.u8(), exponent = cursor.u8(), mantissa_at = cursor.u8(), mantissa = cursor.u8();
      const std::uint32_t bias = cursor.u32();
      const auto is = [&](std::uint64_t size, int e, int m, std::uint32_t b) {
        return type.size == size && whole && implied && (bits & 0x40) == 0 && sign == 8 * size - 1 &&
               mantissa_at == 0 && mantissa == m && exponent_at == m && exponent == e && bias == b;
      };
      if (is(2, 5, 10, 15) || is(4, 8, 23, 127) || is(8, 11, 52, 1023)) type.kind = Type::Kind::floating;
      if (is(2, 8, 7, 127)) type.kind = Type::Kind::bfloat16;
      break;
    }
    case 3:
      type.name = "texts";
      type.kind = Type::Kind::fixed_string;
      break;
    case 5:
      type.name = "opaque bytes";
      type.kind = Type::Kind::opaque;
      break;
    case 8: {  // an enumeration, which is how h5py writes booleans: the numbers are what counts
      const Type base = parse_type(source, cursor.rest().subspan(0, std::min<std::size_t>(cursor.remaining(), 12)));
      type.name = "enumerated values";
      if (base.kind == Type::Kind::integer && base.size == type.size) type = base;
      break;
    }
    case 9:
      type.name = "values of variable length";
      if ((bits & 15) == 1 && type.size == 8 + static_cast<std::uint64_t>(source.offset_size)) {
        type.kind = Type::Kind::vlen_string;
      }
      break;
    case 6: type.name = "compound values"; break;
    case 7: type.name = "references"; break;
    default: type.name = "values of an unusual kind"; break;
  }
  return type;
}

Attribute parse_attribute(Source& source, std::span<const std::uint8_t> data) {
  Cursor cursor(source, data, "an attribute");
  Attribute attribute;
  const int version = cursor.u8();
  const int flags = cursor.u8();
  if (version < 1 || version > 3) cursor.damaged("unknown version");
  const std::uint64_t name_size = cursor.u16(), type_size = cursor.u16(), space_size = cursor.u16();
  if (version == 3) cursor.u8();  // whether the name is ASCII or UTF-8
  const auto field = [&](std::uint64_t size) {
    const std::span<const std::uint8_t> bytes = cursor.take(size);
    if (version == 1) cursor.skip(std::min<std::uint64_t>((8 - size % 8) % 8, cursor.remaining()));
    return bytes;
  };
  const std::span<const std::uint8_t> name = field(name_size);
  attribute.name.assign(name.begin(), std::find(name.begin(), name.end(), std::uint8_t{0}));
  const std::uint8_t own_flags = version == 1 ? 0 : static_cast<std::uint8_t>(flags);
  const Message type{3, static_cast<std::uint8_t>(own_flags & 1 ? 2 : 0), field(type_size)};
  const Message space{1, static_cast<std::uint8_t>(own_flags & 2), field(space_size)};
  attribute.type = parse_type(source, resolve_shared(source, type));
  attribute.space = parse_dataspace(source, resolve_shared(source, space));
  attribute.count = attribute.space.null ? 0 : product(source, attribute.space.dims);
  attribute.data = cursor.take(product(source, attribute.count, attribute.type.size));
  return attribute;
}

namespace {

void parse_chunked(Source& source, Cursor& cursor, int version, Layout& layout) {
  layout.kind = Layout::Kind::chunked;
  int rank = 0;
  if (version == 3) {
    rank = cursor.u8();
    layout.address = cursor.offset();
    for (int i = 0; i < std::min(rank, kMaxRank + 1); ++i) layout.chunk.push_back(cursor.u32());
  } else {
    const int flags = cursor.u8();
    rank = cursor.u8();
    const int width = cursor.u8();
    if (width < 1 || width > 8) cursor.damaged("impossible width of chunk sizes");
    for (int i = 0; i < std::min(rank, kMaxRank + 1); ++i) layout.chunk.push_back(cursor.sized(width));
    layout.plain_edges = (flags & 1) != 0;
    switch (cursor.u8()) {
      case 1:
        layout.index = Layout::Index::single;
        if (flags & 2) {
          layout.size = cursor.length();
          layout.filter_mask = cursor.u32();
        }
        break;
      case 2: layout.index = Layout::Index::implicit; break;
      case 3:
        layout.index = Layout::Index::fixed_array;
        cursor.skip(1);  // the array's own header repeats its parameters
        break;
      case 4:
        layout.index = Layout::Index::extensible_array;
        cursor.skip(5);
        break;
      case 5:
        layout.index = Layout::Index::btree2;
        cursor.skip(6);
        break;
      default: source.unsupported("a chunk index of unknown kind");
    }
    layout.address = cursor.offset();
  }
  if (rank < 2 || rank > kMaxRank + 1) cursor.damaged(str("chunks of ", rank, " dimensions"));
  layout.chunk.pop_back();  // the element size
  for (const std::uint64_t extent : layout.chunk) {
    if (extent == 0) cursor.damaged("a chunk without extent");
  }
}

/// Before HDF5 1.6.3.
Layout parse_old_layout(Source& source, Cursor& cursor) {
  Layout layout;
  const int rank = cursor.u8();
  const int kind = cursor.u8();
  cursor.skip(5);
  if (rank < 1 || rank > kMaxRank + 1) cursor.damaged(str("data of ", rank, " dimensions"));
  if (kind > 2) source.unsupported("data in a storage of unknown kind");
  if (kind != 0) layout.address = cursor.offset();
  std::vector<std::uint64_t> extents(static_cast<std::size_t>(rank));
  for (std::uint64_t& extent : extents) extent = cursor.u32();
  if (kind == 0) {
    layout.kind = Layout::Kind::compact;
    layout.data = cursor.take(cursor.u32());
  } else if (kind == 2) {
    layout.kind = Layout::Kind::chunked;
    if (rank < 2) cursor.damaged("chunks without dimensions");
    cursor.u32();  // the element size, which the datatype says too
    layout.chunk = std::move(extents);
    layout.chunk.pop_back();
    if (std::count(layout.chunk.begin(), layout.chunk.end(), 0u) > 0) cursor.damaged("a chunk without extent");
  } else {
    layout.size = kUndefined;  // it is the dataset's
  }
  return layout;
}

}  // namespace

Layout parse_layout(Source& source, std::span<const std::uint8_t> data) {
  Cursor cursor(source, data, "a data layout");
  const int version = cursor.u8();
  if (version == 1 || version == 2) return parse_old_layout(source, cursor);
  if (version < 3 || version > 5) source.unsupported(str("a data layout of version ", version));
  Layout layout;
  switch (cursor.u8()) {
    case 0:
      layout.kind = Layout::Kind::compact;
      layout.data = cursor.take(cursor.u16());
      break;
    case 1:
      layout.address = cursor.offset();
      layout.size = cursor.length();
      break;
    case 2: parse_chunked(source, cursor, version, layout); break;
    case 3: source.unsupported("a virtual dataset, whose values lie in other files");
    default: source.unsupported("data in a storage of unknown kind");
  }
  return layout;
}

std::vector<Filter> parse_filters(Source& source, std::span<const std::uint8_t> data) {
  Cursor cursor(source, data, "a list of filters");
  const int version = cursor.u8();
  const int count = cursor.u8();
  if (version < 1 || version > 2) cursor.damaged("unknown version");
  if (count > 32) cursor.damaged(str(count, " filters"));
  if (version == 1) cursor.skip(6);
  std::vector<Filter> filters;
  for (int i = 0; i < count; ++i) {
    Filter filter;
    filter.id = cursor.u16();
    std::uint64_t name = version == 1 || filter.id >= 256 ? cursor.u16() : 0;
    cursor.u16();  // whether writing may go on without it
    const int values = cursor.u16();
    if (version == 1) name = (name + 7) / 8 * 8;
    cursor.skip(name);
    for (int k = 0; k < values; ++k) filter.values.push_back(cursor.u32());
    if (version == 1 && values % 2 != 0) cursor.skip(4);
    filters.push_back(std::move(filter));
  }
  return filters;
}

std::span<const std::uint8_t> parse_fill(Source& source, std::span<const std::uint8_t> data, bool old) {
  Cursor cursor(source, data, "a fill value");
  if (old) return cursor.take(cursor.u32());
  const int version = cursor.u8();
  if (version < 1 || version > 3) cursor.damaged("unknown version");
  bool defined = true;
  if (version == 3) {
    defined = (cursor.u8() & 0x20) != 0;
  } else {
    cursor.skip(2);
    const bool stored = cursor.u8() != 0;
    defined = version == 1 || stored;
  }
  if (!defined) return {};
  const std::uint64_t size = cursor.u32();
  return size > 0x7fffffff ? std::span<const std::uint8_t>() : cursor.take(size);  // negative: undefined
}

}  // namespace fovea::weights::hdf5
