#include "models/weights/tensorflow/table_internal.h"

#include <cstring>

#include "core/error.h"
#include "models/weights/checksum_internal.h"
#include "models/weights/tensorflow/proto_internal.h"

namespace fovea::weights::tensorflow {
namespace {

constexpr std::size_t kFooter = 48;
constexpr std::size_t kBlockTrailer = 5;  // compression, checksum
constexpr std::uint64_t kMagic = 0xdb4775248b80fb57u;
// Keys share their beginnings, so a small file can spell long ones many times; real indexes expand some five times.
constexpr std::size_t kMaxKeys = 64u << 20;

using Bytes = std::span<const std::uint8_t>;

class Reader {
 public:
  Reader(Bytes bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::vector<TableEntry> run() {
    if (bytes_.size() < kFooter) damaged("it is shorter than its footer");
    const Bytes footer = bytes_.last(kFooter);
    std::uint64_t magic = 0;
    std::memcpy(&magic, footer.data() + kFooter - sizeof magic, sizeof magic);
    if (magic != kMagic) damaged("its last bytes are not those of a table");
    std::size_t at = 0;
    block(read_handle(footer, at));  // filters and statistics, which TensorFlow does not write: empty, but checked
    const Bytes index = block(read_handle(footer, at));
    for (const TableEntry& entry : entries(index)) {
      std::size_t in = 0;
      for (TableEntry& found : entries(block(read_handle(entry.second, in)))) all_.push_back(std::move(found));
    }
    for (std::size_t i = 1; i < all_.size(); ++i) {
      if (all_[i].first <= all_[i - 1].first) damaged(str("key '", all_[i].first, "' is out of order"));
    }
    return std::move(all_);
  }

 private:
  struct Handle {
    std::uint64_t offset = 0, size = 0;
  };

  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::format, where_, str("damaged checkpoint index: ", what),
                "it may have been cut off; copy or download it again");
  }

  Handle read_handle(Bytes from, std::size_t& at) const {
    Handle handle;
    if (!read_varint(from, at, handle.offset) || !read_varint(from, at, handle.size)) damaged("a block has no place");
    return handle;
  }

  Bytes block(const Handle& handle) const {
    const std::uint64_t room = bytes_.size() - kFooter;
    if (handle.offset > room || room - handle.offset < kBlockTrailer ||
        handle.size > room - handle.offset - kBlockTrailer) {
      damaged("a block reaches beyond its end");
    }
    const auto size = static_cast<std::size_t>(handle.size);
    const Bytes whole = bytes_.subspan(static_cast<std::size_t>(handle.offset), size + kBlockTrailer);
    std::uint32_t stored = 0;
    std::memcpy(&stored, whole.data() + size + 1, sizeof stored);
    if (masked(crc32c(whole.first(size + 1))) != stored) damaged("a block's checksum does not match");
    if (whole[size] != 0) {
      throw Error(ErrorKind::format, where_, str("its index is compressed (type ", whole[size], ")"),
                  "TensorFlow writes indexes uncompressed; load it there and save it again");
    }
    return whole.first(size);
  }

  /// Entries are (shared, own, value length; the key's own end; the value); then come places to start from, which only
  /// searching needs, and their number.
  std::vector<TableEntry> entries(Bytes content) {
    std::uint32_t restarts = 0;
    if (content.size() < sizeof restarts) damaged("a block is empty");
    std::memcpy(&restarts, content.data() + content.size() - sizeof restarts, sizeof restarts);
    if (restarts > content.size() / 4 - 1) damaged("a block has more starts than bytes");
    const Bytes data = content.first(content.size() - 4 - std::size_t{4} * restarts);
    std::vector<TableEntry> found;
    std::string key;
    for (std::size_t at = 0; at < data.size();) {
      std::uint64_t shared = 0, own = 0, length = 0;
      if (!read_varint(data, at, shared) || !read_varint(data, at, own) || !read_varint(data, at, length) ||
          shared > key.size() || own > data.size() - at || length > data.size() - at - own) {
        damaged("an entry reaches beyond its block");
      }
      key.resize(static_cast<std::size_t>(shared));
      key.append(reinterpret_cast<const char*>(data.data()) + at, static_cast<std::size_t>(own));
      at += static_cast<std::size_t>(own);
      spent_ += key.size() + sizeof(TableEntry);
      if (spent_ > kMaxKeys) damaged(str("its keys take more than ", kMaxKeys >> 20, " MB"));
      found.emplace_back(key, data.subspan(at, static_cast<std::size_t>(length)));
      at += static_cast<std::size_t>(length);
    }
    return found;
  }

  Bytes bytes_;
  const std::string& where_;
  std::vector<TableEntry> all_;
  std::size_t spent_ = 0;
};

}  // namespace

std::vector<TableEntry> read_table(std::span<const std::uint8_t> bytes, const std::string& where) {
  return Reader(bytes, where).run();
}

}  // namespace fovea::weights::tensorflow
