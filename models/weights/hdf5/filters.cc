// The filters of chunks: gzip, shuffle and fletcher32, undone.
#include <zlib.h>

#include <cstring>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {
namespace {

constexpr std::uint16_t kDeflate = 1, kShuffle = 2, kFletcher = 3;

std::vector<std::uint8_t> inflate_all(Source& source, std::span<const std::uint8_t> packed, std::uint64_t bytes) {
  // Deflate packs at most 1032 : 1, so a claim beyond that is refused before memory is taken for it.
  if (bytes / 1032 > packed.size() + 64) source.damaged(str(packed.size(), " bytes cannot unpack to ", bytes));
  std::vector<std::uint8_t> out(static_cast<std::size_t>(bytes));
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) throw Error(ErrorKind::memory, source.where, "no memory to decompress with");
  struct Closer {
    z_stream* s;
    ~Closer() { inflateEnd(s); }
  } closer{&stream};
  // Chunks have at most 4 GB, so both counts fit; zlib wants a place to write to even for nothing.
  std::uint8_t nowhere = 0;
  stream.next_in = const_cast<std::uint8_t*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = out.empty() ? &nowhere : out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&stream, Z_FINISH);
  if (status != Z_STREAM_END || stream.avail_out != 0) {
    source.damaged(str("a compressed chunk does not give its ", bytes, " bytes"));
  }
  return out;
}

std::vector<std::uint8_t> unshuffle(Source& source, std::span<const std::uint8_t> in, std::uint64_t element) {
  if (element == 0 || element > in.size()) source.damaged(str("a shuffle filter for elements of ", element, " bytes"));
  std::vector<std::uint8_t> out(in.size());
  const std::size_t width = static_cast<std::size_t>(element), count = in.size() / width;
  for (std::size_t k = 0; k < width; ++k) {
    const std::uint8_t* from = in.data() + k * count;
    std::uint8_t* to = out.data() + k;
    for (std::size_t i = 0; i < count; ++i) to[i * width] = from[i];
  }
  const std::size_t rest = width * count;  // what does not fill an element stays as it is
  if (rest < in.size()) std::memcpy(out.data() + rest, in.data() + rest, in.size() - rest);
  return out;
}

}  // namespace

std::vector<std::uint8_t> undo_filters(Source& source, const Dataset& dataset, std::span<const std::uint8_t> stored,
                                       std::uint32_t filter_mask, std::uint64_t bytes) {
  // Sizes before each filter, as the writer had them; after gzip it is whatever gzip made of it.
  std::vector<std::uint64_t> before;
  std::uint64_t size = bytes;
  for (const Filter& filter : dataset.filters) {
    before.push_back(size);
    const std::size_t i = before.size() - 1;
    if (filter_mask >> i & 1) continue;
    if (filter.id == kFletcher && size != kUndefined) size += 4;
    if (filter.id == kDeflate) {
      if (size == kUndefined) source.unsupported("data compressed twice");
      size = kUndefined;
    }
  }
  std::vector<std::uint8_t> now;
  std::span<const std::uint8_t> data = stored;
  for (std::size_t i = dataset.filters.size(); i-- > 0;) {
    const Filter& filter = dataset.filters[i];
    if (filter_mask >> i & 1) continue;
    switch (filter.id) {
      case kDeflate: now = inflate_all(source, data, before[i]); break;
      case kShuffle: now = unshuffle(source, data, filter.values.empty() ? dataset.type.size : filter.values[0]); break;
      case kFletcher: {
        if (data.size() < 4) source.damaged("a chunk is too short for its checksum");
        const std::span<const std::uint8_t> body = data.first(data.size() - 4);
        Cursor tail(source, data.last(4), "a chunk's checksum");
        if (verify_checksums && tail.u32() != fletcher32(body)) source.damaged("the checksum of a chunk is wrong");
        now.assign(body.begin(), body.end());
        break;
      }
      default: source.unsupported(str("filter ", filter.id));  // refused before, see File::dataset
    }
    data = now;
  }
  if (data.size() != bytes) source.damaged(str("a chunk has ", data.size(), " bytes instead of ", bytes));
  if (now.empty()) now.assign(data.begin(), data.end());
  return now;
}

}  // namespace fovea::weights::hdf5
