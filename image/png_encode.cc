// PNG writing on zlib.
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "image/encode.h"

namespace fovea::image {
namespace {

void put32(std::vector<std::uint8_t>& out, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(v >> shift));
}

void put_chunk(std::vector<std::uint8_t>& out, std::string_view type, const std::uint8_t* body, std::size_t size) {
  put32(out, static_cast<std::uint32_t>(size));
  const std::size_t begin = out.size();
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), body, body + size);
  put32(out, static_cast<std::uint32_t>(crc32(0, out.data() + begin, static_cast<uInt>(size + 4))));
}

std::uint8_t paeth(int a, int b, int c) {
  const int p = a + b - c, pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
  return static_cast<std::uint8_t>(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

std::uint8_t filtered(int filter, int x, int left, int up, int corner) {
  switch (filter) {
    case 1: return static_cast<std::uint8_t>(x - left);
    case 2: return static_cast<std::uint8_t>(x - up);
    case 3: return static_cast<std::uint8_t>(x - (left + up) / 2);
    case 4: return static_cast<std::uint8_t>(x - paeth(left, up, corner));
    default: return static_cast<std::uint8_t>(x);
  }
}

class Deflater {
 public:
  explicit Deflater(int level) {
    if (deflateInit(&stream_, level) != Z_OK) throw Error(ErrorKind::memory, "encode_png", "no memory for zlib");
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // Emits an IDAT chunk each time the buffer fills.
  void write(std::uint8_t* data, std::size_t size, bool last, std::vector<std::uint8_t>& png) {
    stream_.next_in = data;
    stream_.avail_in = static_cast<uInt>(size);
    while (true) {
      if (stream_.avail_out == 0) {
        if (started_) put_chunk(png, "IDAT", buffer_.data(), buffer_.size());
        started_ = true;
        stream_.next_out = buffer_.data();
        stream_.avail_out = static_cast<uInt>(buffer_.size());
      }
      const int result = deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        put_chunk(png, "IDAT", buffer_.data(), buffer_.size() - stream_.avail_out);
        return;
      }
      if (!last && stream_.avail_in == 0 && stream_.avail_out > 0) return;
    }
  }

 private:
  z_stream stream_{};
  bool started_ = false;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(std::size_t{1} << 16);
};

}  // namespace

std::vector<std::uint8_t> encode_png(const Image& image, const PngOptions& options) {
  check(image, "encode_png");
  if (image.empty()) throw Error(ErrorKind::usage, "encode_png", "the picture is empty");
  if (options.compression < 0 || options.compression > 9) {
    throw Error(ErrorKind::usage, "encode_png", str("compression ", options.compression, " is not between 0 and 9"));
  }
  std::vector<std::uint8_t> png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  std::vector<std::uint8_t> header;
  put32(header, static_cast<std::uint32_t>(image.width));
  put32(header, static_cast<std::uint32_t>(image.height));
  header.insert(header.end(), {8, static_cast<std::uint8_t>(image.channels == 3 ? 2 : 0), 0, 0, 0});
  put_chunk(png, "IHDR", header.data(), header.size());

  Deflater deflater(options.compression);
  const std::size_t row_bytes = image.row_bytes(), step = static_cast<std::size_t>(image.channels);
  // One candidate row per filter, each with its filter byte in front.
  std::array<std::vector<std::uint8_t>, 5> rows;
  for (auto& row : rows) row.resize(row_bytes + 1);
  const std::vector<std::uint8_t> zeros(row_bytes);
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* now = image.row(y).data();
    const std::uint8_t* up = y > 0 ? image.row(y - 1).data() : zeros.data();
    std::size_t best = 0;
    std::uint64_t best_sum = ~std::uint64_t{0};
    for (std::size_t f = 0; f < (options.compression == 0 ? 1u : 5u); ++f) {
      std::uint8_t* out = rows[f].data();
      *out++ = static_cast<std::uint8_t>(f);
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < row_bytes; ++i) {
        const bool inside = i >= step;
        out[i] = filtered(static_cast<int>(f), now[i], inside ? now[i - step] : 0, up[i], inside ? up[i - step] : 0);
        sum += static_cast<std::uint64_t>(std::abs(static_cast<std::int8_t>(out[i])));
      }
      if (sum < best_sum) best_sum = sum, best = f;
    }
    deflater.write(rows[best].data(), row_bytes + 1, y + 1 == image.height, png);
  }
  put_chunk(png, "IEND", nullptr, 0);
  return png;
}

}  // namespace fovea::image
