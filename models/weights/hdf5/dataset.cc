// The values of datasets.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"
#include "models/weights/raw_tensor_internal.h"

namespace fovea::weights::hdf5 {
namespace {

constexpr int kMaxRank = Shape::kMaxRank;

/// Reads the elements of one dataset into dense memory of its own type and byte order.
class Reader {
 public:
  Reader(const Source& source, const Dataset& dataset) : source_(source), dataset_(dataset) {
    source_.budget = 4 * source_.bytes.size() + (std::uint64_t{1} << 20);  // each call has its own
  }

  void read(std::span<std::uint8_t> out) {
    const Layout& layout = dataset_.layout;
    if (layout.kind == Layout::Kind::compact) {
      std::memcpy(out.data(), layout.data.data(), out.size());
    } else if (layout.kind == Layout::Kind::chunked) {
      read_chunks(out);
    } else if (layout.address != kUndefined) {
      std::memcpy(out.data(), source_.data(layout.address, out.size(), "a dataset").data(), out.size());
    } else {
      fill(out);
    }
  }

 private:
  void fill(std::span<std::uint8_t> out) {
    const std::size_t size = static_cast<std::size_t>(dataset_.type.size);
    if (dataset_.fill.size() != size) {
      std::memset(out.data(), 0, out.size());
      return;
    }
    for (std::size_t at = 0; at < out.size(); at += size) std::memcpy(out.data() + at, dataset_.fill.data(), size);
  }

  void read_chunks(std::span<std::uint8_t> out) {
    const std::vector<std::uint64_t>& dims = dataset_.space.dims;
    const std::vector<std::uint64_t>& extents = dataset_.layout.chunk;
    const std::uint64_t whole = chunk_bytes(source_, dataset_);
    std::vector<std::uint64_t> counts;
    for (std::size_t axis = 0; axis < dims.size(); ++axis) {
      counts.push_back(dims[axis] / extents[axis] + (dims[axis] % extents[axis] != 0));
    }
    // Not more than elements, of which File::dataset has checked the number.
    std::vector<bool> seen(static_cast<std::size_t>(product(source_, counts)));
    std::uint64_t found = 0;
    const auto place = [&](const Chunk& chunk) {
      std::uint64_t number = 0;
      bool edge = false;
      for (std::size_t axis = 0; axis < dims.size(); ++axis) {
        number = number * counts[axis] + chunk.position[axis];
        edge = edge || (chunk.position[axis] + 1) * extents[axis] > dims[axis];
      }
      if (seen[static_cast<std::size_t>(number)]) source_.damaged("a chunk occurs twice");
      seen[static_cast<std::size_t>(number)] = true;
      ++found;
      const std::span<const std::uint8_t> bytes = source_.data(chunk.address, chunk.size, "a chunk");
      if (dataset_.filters.empty() || (edge && dataset_.layout.plain_edges)) {
        if (bytes.size() != whole) source_.damaged(str("a chunk has ", bytes.size(), " bytes instead of ", whole));
        scatter(bytes, chunk.position, out);
      } else {
        scatter(undo_filters(source_, dataset_, bytes, chunk.filter_mask, whole), chunk.position, out);
      }
    };
    fill(out);
    for_each_chunk(source_, dataset_, place);
    if (found < seen.size() && out.size() > std::max<std::uint64_t>(source_.bytes.size(), 1 << 20)) {
      source_.damaged(str(seen.size() - found, " of ", seen.size(), " chunks are missing"));
    }
  }

  /// Copies the part of a chunk that lies within the dataset.
  void scatter(std::span<const std::uint8_t> chunk, std::span<const std::uint64_t> position,
               std::span<std::uint8_t> out) const {
    const std::vector<std::uint64_t>& dims = dataset_.space.dims;
    const std::vector<std::uint64_t>& extents = dataset_.layout.chunk;
    const std::size_t rank = dims.size(), size = static_cast<std::size_t>(dataset_.type.size);
    std::array<std::uint64_t, kMaxRank> begin{}, length{}, index{};
    for (std::size_t axis = 0; axis < rank; ++axis) {
      begin[axis] = position[axis] * extents[axis];
      length[axis] = std::min(extents[axis], dims[axis] - begin[axis]);
    }
    const std::size_t row = static_cast<std::size_t>(length[rank - 1]) * size;
    for (;;) {
      std::uint64_t from = 0, to = 0;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        from = from * extents[axis] + index[axis];
        to = to * dims[axis] + begin[axis] + index[axis];
      }
      std::memcpy(out.data() + to * size, chunk.data() + from * size, row);
      std::size_t axis = rank - 1;
      while (axis > 0 && ++index[axis - 1] == length[axis - 1]) index[--axis] = 0;
      if (axis == 0) return;
    }
  }

  Source source_;
  const Dataset& dataset_;
};

void swap_bytes(std::span<std::uint8_t> bytes, std::size_t size) {
  for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
    std::reverse(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
  }
}

/// Widens integers that Tensor does not have.
template <class From, class To>
void widen(const std::vector<std::uint8_t>& from, Tensor& to, const std::string& where) {
  To* out = to.mutable_data<To>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(to.numel()); ++i) {
    From value;
    std::memcpy(&value, from.data() + i * sizeof(From), sizeof(From));
    if (!std::in_range<To>(value)) {
      throw Error(ErrorKind::format, where, str("a value of ", value, " is beyond 64-bit integers with a sign"));
    }
    out[i] = static_cast<To>(value);
  }
}

}  // namespace

std::uint64_t chunk_bytes(Source& source, const Dataset& dataset) {
  const std::uint64_t bytes = product(source, product(source, dataset.layout.chunk), dataset.type.size);
  if (bytes > 0xffffffffu) source.damaged(str("a chunk of ", bytes, " bytes"));
  return bytes;
}

std::optional<DType> File::element_type(const Type& type) {
  switch (type.kind) {
    case Type::Kind::floating: return type.size == 2 ? DType::f16 : type.size == 4 ? DType::f32 : DType::f64;
    case Type::Kind::bfloat16: return DType::bf16;
    case Type::Kind::opaque: return type.size == 2 ? std::optional(DType::bf16) : std::nullopt;
    case Type::Kind::integer:
      if (type.size == 1) return type.is_signed ? DType::i8 : DType::u8;
      if (type.size == 2) return DType::i32;
      if (type.size == 4) return type.is_signed ? DType::i32 : DType::i64;
      return DType::i64;
    default: return std::nullopt;
  }
}

Dataset File::dataset(std::uint64_t address, std::string name) {
  Dataset dataset;
  dataset.name = std::move(name);
  bool has_type = false, has_space = false, has_layout = false, has_fill = false;
  for (const Message& message : messages(address)) {
    switch (message.type) {
      case 0x01: dataset.space = parse_dataspace(source_, resolve_shared(source_, message)), has_space = true; break;
      case 0x03: dataset.type = parse_type(source_, resolve_shared(source_, message)), has_type = true; break;
      case 0x04:
        if (!has_fill) dataset.fill = parse_fill(source_, resolve_shared(source_, message), true);
        break;
      case 0x05: dataset.fill = parse_fill(source_, resolve_shared(source_, message), false), has_fill = true; break;
      case 0x07:
        source_.unsupported(str("the values of '", dataset.name, "' in another file"), "nothing else is opened");
      case 0x08: dataset.layout = parse_layout(source_, message.data), has_layout = true; break;
      case 0x0b: dataset.filters = parse_filters(source_, resolve_shared(source_, message)); break;
      default: break;
    }
  }
  if (!has_type || !has_space || !has_layout) source_.damaged(str("'", dataset.name, "' is no dataset"));
  for (const Filter& filter : dataset.filters) {
    if (filter.id < 1 || filter.id > 3) {
      source_.unsupported(str("'", dataset.name, "' compressed with filter ", filter.id),
                          "write it without compression, or with gzip");
    }
  }
  check_storage(dataset);
  return dataset;
}

void File::check_storage(Dataset& dataset) {
  const std::size_t rank = dataset.space.dims.size();
  if (rank > static_cast<std::size_t>(kMaxRank)) source_.unsupported(str("'", dataset.name, "' with ", rank, " axes"));
  dataset.count = dataset.space.null ? 0 : product(source_, dataset.space.dims);
  const std::uint64_t bytes = product(source_, dataset.count, dataset.type.size);
  Layout& layout = dataset.layout;
  const std::string what = str("'", dataset.name, "'");
  if (layout.kind == Layout::Kind::compact) {
    if (layout.data.size() < bytes) source_.damaged(str(what, " has ", layout.data.size(), " of ", bytes, " bytes"));
  } else if (layout.kind == Layout::Kind::contiguous) {
    if (layout.size != kUndefined && layout.size < bytes) {
      source_.damaged(str(what, " has ", layout.size, " of ", bytes, " bytes"));
    }
    if (layout.address != kUndefined) source_.data(layout.address, bytes, what.c_str());
  } else {
    if (layout.chunk.size() != rank || rank == 0) source_.damaged(str(what, " has chunks of another rank"));
    chunk_bytes(source_, dataset);
  }
  // Unpacked, gzip makes at most 1032 bytes of one; unwritten data may be as large as the file.
  const bool packed =
      std::any_of(dataset.filters.begin(), dataset.filters.end(), [](const Filter& f) { return f.id == 1; });
  const std::uint64_t most = source_.bytes.size() * (packed ? 1032u : 1u) + (1u << 20);
  if (bytes > most) source_.damaged(str(what, " claims ", bytes, " bytes in a file of ", source_.bytes.size()));
  dataset.unpacked = bytes;
  if (layout.kind == Layout::Kind::chunked && bytes > 0) {
    // Chunks do not overlap in the file; if they did, a small file could keep us busy for long.
    std::uint64_t stored = 0, whole = 0;
    for_each_chunk(source_, dataset, [&](const Chunk& chunk) {
      stored += source_.data(chunk.address, chunk.size, what.c_str()).size();
      whole += chunk_bytes(source_, dataset);
      if (stored > source_.bytes.size()) source_.damaged(str("the chunks of ", what, " are larger than the file"));
    });
    dataset.unpacked = std::max(bytes, whole);
  }
}

Tensor File::read(const Dataset& dataset) const {
  const std::optional<DType> dtype = element_type(dataset.type);
  if (!dtype) source_.unsupported(str("'", dataset.name, "' of ", dataset.type.name));
  std::vector<std::int64_t> dims(dataset.space.dims.begin(), dataset.space.dims.end());
  if (dataset.space.null) dims = {0};
  const Shape shape{std::span<const std::int64_t>(dims)};
  const Type& type = dataset.type;
  const bool as_stored = type.kind != Type::Kind::integer || dtype_size(*dtype) == type.size;
  const bool unsigned64 = type.kind == Type::Kind::integer && type.size == 8 && !type.is_signed;
  const Layout& layout = dataset.layout;
  if (layout.kind == Layout::Kind::contiguous && layout.address != kUndefined && as_stored && !unsigned64 &&
      !type.big_endian && dataset.count > 0) {
    std::uint8_t* at = writable_.data() + layout.address;
    if (reinterpret_cast<std::uintptr_t>(at) % dtype_size(*dtype) == 0) {
      return Tensor::borrow(at, shape, *dtype, owner_);
    }
  }
  Tensor result = transient_tensor(shape, *dtype);
  if (dataset.count == 0) return result;
  Reader reader(source_, dataset);
  if (as_stored && !unsigned64) {
    const std::span<std::uint8_t> out(static_cast<std::uint8_t*>(result.mutable_view().data), result.nbytes());
    reader.read(out);
    if (type.big_endian) swap_bytes(out, static_cast<std::size_t>(type.size));
    return result;
  }
  std::vector<std::uint8_t> raw(static_cast<std::size_t>(dataset.count * type.size));
  reader.read(raw);
  if (type.big_endian) swap_bytes(raw, static_cast<std::size_t>(type.size));
  if (type.size == 8) {
    widen<std::uint64_t, std::int64_t>(raw, result, source_.where);
  } else if (type.size == 4) {
    widen<std::uint32_t, std::int64_t>(raw, result, source_.where);
  } else if (type.is_signed) {
    widen<std::int16_t, std::int32_t>(raw, result, source_.where);
  } else {
    widen<std::uint16_t, std::int32_t>(raw, result, source_.where);
  }
  return result;
}

}  // namespace fovea::weights::hdf5
