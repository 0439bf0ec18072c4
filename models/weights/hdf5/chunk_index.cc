// Where the chunks of a dataset are: the indexes of data layout 3 (B-tree version 1) and of 4 and 5 (single chunk,
// implicit, fixed array, extensible array, B-tree version 2).
#include <algorithm>
#include <array>
#include <bit>

#include "core/error.h"
#include "models/weights/hdf5/hdf5_internal.h"

namespace fovea::weights::hdf5 {
namespace {

using Visit = std::function<void(const Chunk&)>;

/// Turns the running number of a chunk into its position.
class Grid {
 public:
  Grid(Source& source, const Dataset& dataset, bool extensible) {
    const std::vector<std::uint64_t>& chunk = dataset.layout.chunk;
    // Numbers count through what the dataset may grow to, the axis that may grow without limit being the slowest.
    for (std::size_t axis = 0; axis < chunk.size(); ++axis) {
      const std::uint64_t most = dataset.space.max_dims[axis];
      if (most == kUndefined) {
        if (!extensible || slowest_ != kNone) source.damaged("a chunk index that does not suit its dataset");
        slowest_ = axis;
        counts_.push_back(0);
      } else {
        counts_.push_back(most / chunk[axis] + (most % chunk[axis] != 0));
      }
      now_.push_back(dataset.space.dims[axis] / chunk[axis] + (dataset.space.dims[axis] % chunk[axis] != 0));
    }
    position_.resize(chunk.size());
  }

  /// False for a chunk outside of what the dataset has now.
  bool locate(std::uint64_t number) {
    for (std::size_t axis = counts_.size(); axis-- > 0;) {
      if (axis == slowest_) continue;
      if (counts_[axis] == 0) return false;
      position_[axis] = number % counts_[axis];
      number /= counts_[axis];
    }
    if (slowest_ != kNone) {
      position_[slowest_] = number;
    } else if (number != 0) {
      return false;
    }
    return std::equal(position_.begin(), position_.end(), now_.begin(), std::less<>());
  }

  std::span<const std::uint64_t> position() const { return position_; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t slowest_ = kNone;
  std::vector<std::uint64_t> counts_, now_, position_;
};

/// The elements of fixed and extensible arrays.
struct Elements {
  Elements(Source& source, const Dataset& dataset, bool extensible, const Visit& visitor)
      : grid(source, dataset, extensible), whole(chunk_bytes(source, dataset)), visit(visitor) {}

  void configure(Cursor& head, int client, std::uint64_t entry_bytes, int offset_size) {
    if (client > 1) head.damaged("unknown kind of elements");
    filtered = client == 1;
    entry = entry_bytes;
    const std::uint64_t fixed = static_cast<std::uint64_t>(offset_size) + (filtered ? 4 : 0);
    if (entry < fixed || entry - fixed > 8 || (filtered == (entry == fixed))) head.damaged("impossible element size");
    size_bytes = static_cast<int>(entry - fixed);
  }

  /// Reads `count` elements, the first of which is number `first`.
  void read(Cursor& cursor, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      Chunk chunk;
      chunk.address = cursor.offset();
      chunk.size = filtered ? cursor.sized(size_bytes) : whole;
      if (filtered) chunk.filter_mask = cursor.u32();
      if (chunk.address == kUndefined || !grid.locate(first + i)) continue;
      chunk.position = grid.position();
      visit(chunk);
    }
  }

  Grid grid;
  std::uint64_t whole, entry = 0;
  bool filtered = false;
  int size_bytes = 0;
  const Visit& visit;
};

bool bit_set(std::span<const std::uint8_t> bits, std::uint64_t i) {
  return (bits[static_cast<std::size_t>(i / 8)] & 0x80 >> i % 8) != 0;
}

void fixed_array(Source& source, const Dataset& dataset, const Visit& visit) {
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const auto lengths = static_cast<std::uint64_t>(source.length_size);
  Elements elements(source, dataset, false, visit);
  const std::uint64_t address = dataset.layout.address;
  Cursor head = source.block(address, 12 + lengths + offsets, "FAHD", true, "a fixed array");
  if (head.u8() != 0) head.damaged("unknown version");
  const int client = head.u8();
  elements.configure(head, client, head.u8(), source.offset_size);
  const int page_bits = head.u8();
  const std::uint64_t count = head.length();
  const std::uint64_t block_at = head.offset();
  if (block_at == kUndefined) return;
  if (count > source.bytes.size()) head.damaged(str("it claims ", count, " elements"));
  if (page_bits > 32) head.damaged("impossible page size");
  const std::uint64_t page = std::uint64_t{1} << page_bits;
  const bool paged = count > page;
  const std::uint64_t pages = (count + page - 1) / page;
  const std::uint64_t bitmap = paged ? (pages + 7) / 8 : 0;
  const std::uint64_t size = 10 + offsets + bitmap + (paged ? 0 : count * elements.entry);
  Cursor block = source.block(block_at, size, "FADB", true, "a block of a fixed array");
  if (block.u8() != 0 || block.u8() != client) block.damaged("unknown version or kind");
  if (block.offset() != address) block.damaged("it belongs to another array");
  if (!paged) {
    elements.read(block, 0, count);
    return;
  }
  const std::span<const std::uint8_t> written = block.take(bitmap);
  for (std::uint64_t i = 0, at = block_at + size; i < pages; ++i) {
    const std::uint64_t here = std::min(page, count - i * page);
    const std::uint64_t bytes = here * elements.entry + 4;
    if (bit_set(written, i)) {
      Cursor cursor = source.block(at, bytes, "", true, "a page of a fixed array");
      elements.read(cursor, i * page, here);
    }
    at += bytes;
  }
}

class ExtensibleArray {
 public:
  ExtensibleArray(Source& source, const Dataset& dataset, const Visit& visit)
      : source_(source), address_(dataset.layout.address), elements_(source, dataset, true, visit) {}

  void read() {
    const auto offsets = static_cast<std::uint64_t>(source_.offset_size);
    const auto lengths = static_cast<std::uint64_t>(source_.length_size);
    Cursor head = source_.block(address_, 16 + 6 * lengths + offsets, "EAHD", true, "an extensible array");
    if (head.u8() != 0) head.damaged("unknown version");
    client_ = head.u8();
    elements_.configure(head, client_, head.u8(), source_.offset_size);
    const unsigned bits = head.u8();
    const std::uint64_t in_index = head.u8(), smallest = head.u8(), direct_below = head.u8();
    const unsigned page_bits = head.u8();
    head.skip(4 * lengths);  // statistics
    end_ = head.length();    // one past the last element that was ever set
    head.length();
    const std::uint64_t index_at = head.offset();
    if (index_at == kUndefined || end_ == 0) return;
    if (bits < 1 || bits > 62 || !std::has_single_bit(smallest) || !std::has_single_bit(direct_below) ||
        page_bits < 1 || page_bits > 32 || static_cast<unsigned>(std::countr_zero(smallest)) > bits) {
      head.damaged("impossible sizes");
    }
    offset_bytes_ = (bits + 7) / 8;
    page_ = std::uint64_t{1} << page_bits;

    const unsigned supers = 1 + bits - static_cast<unsigned>(std::countr_zero(smallest));
    std::uint64_t pointers = 0;
    for (unsigned u = 0; u < supers; ++u) pointers += blocks_of(u) < direct_below ? blocks_of(u) : 1;
    Cursor index = source_.block(index_at, 10 + offsets + in_index * elements_.entry + pointers * offsets, "EAIB", true,
                                 "the index of an extensible array");
    check(index);
    next_ = std::min(in_index, end_);
    elements_.read(index, 0, next_);
    index.skip((in_index - next_) * elements_.entry);
    // The first super blocks' blocks are named here one by one, those of the later ones in a block of their own.
    for (unsigned u = 0; u < supers && next_ < end_; ++u) {
      const std::uint64_t count = std::uint64_t{1} << (u + 1) / 2;
      const std::uint64_t each = product(source_, count, smallest);
      if (blocks_of(u) < direct_below) {
        for (std::uint64_t i = 0; i < blocks_of(u); ++i) block(index.offset(), each, {}, 0);
      } else {
        super_block(index.offset(), u, each);
      }
    }
  }

 private:
  static std::uint64_t blocks_of(unsigned super) { return std::uint64_t{1} << super / 2; }

  void check(Cursor& cursor) {
    if (cursor.u8() != 0 || cursor.u8() != client_) cursor.damaged("unknown version or kind");
    if (cursor.offset() != address_) cursor.damaged("it belongs to another array");
  }

  void super_block(std::uint64_t at, unsigned u, std::uint64_t each) {
    const std::uint64_t count = blocks_of(u);
    if (at == kUndefined) {
      next_ += product(source_, count, each);
      return;
    }
    if (count > source_.bytes.size() || each > source_.bytes.size()) source_.damaged("a super block is too large");
    const auto offsets = static_cast<std::uint64_t>(source_.offset_size);
    const std::uint64_t pages = each > page_ ? each / page_ : 0;
    const std::uint64_t bitmap = count * ((pages + 7) / 8);
    Cursor cursor = source_.block(at, 10 + offsets + offset_bytes_ + bitmap + count * offsets, "EASB", true,
                                  "a super block of an extensible array");
    check(cursor);
    cursor.skip(offset_bytes_);
    const std::span<const std::uint8_t> written = cursor.take(bitmap);
    for (std::uint64_t i = 0; i < count && next_ < end_; ++i) block(cursor.offset(), each, written, i * pages);
  }

  void block(std::uint64_t at, std::uint64_t each, std::span<const std::uint8_t> written, std::uint64_t first_page) {
    if (next_ >= end_) return;
    const std::uint64_t first = next_;
    next_ += each;
    if (at == kUndefined) return;
    if (each > source_.bytes.size()) source_.damaged("a block of an extensible array is too large");
    const std::uint64_t prefix = 10 + static_cast<std::uint64_t>(source_.offset_size) + offset_bytes_;
    const bool paged = each > page_;
    Cursor cursor = source_.block(at, prefix + (paged ? 0 : each * elements_.entry), "EADB", true,
                                  "a block of an extensible array");
    check(cursor);
    cursor.skip(offset_bytes_);
    if (!paged) {
      elements_.read(cursor, first, std::min(each, end_ - first));
      return;
    }
    if (written.empty()) cursor.damaged("it has pages, but nothing says which");
    const std::uint64_t bytes = page_ * elements_.entry + 4;
    for (std::uint64_t i = 0; i < each / page_ && first + i * page_ < end_; ++i) {
      if (!bit_set(written, first_page + i)) continue;
      Cursor page = source_.block(at + prefix + i * bytes, bytes, "", true, "a page of an extensible array");
      elements_.read(page, first + i * page_, std::min(page_, end_ - first - i * page_));
    }
  }

  Source& source_;
  std::uint64_t address_;
  Elements elements_;
  int client_ = 0;
  std::uint64_t offset_bytes_ = 0, page_ = 0;
  std::uint64_t next_ = 0, end_ = 0;  ///< the element to come, and the one after the last
};

void btree1(Source& source, const Dataset& dataset, const Visit& visit) {
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const std::vector<std::uint64_t>& extents = dataset.layout.chunk;
  const std::uint64_t key = 8 + 8 * (extents.size() + 1);
  const char* what = "a chunk index";
  struct Node {
    std::uint64_t address;
    int level;
  };
  std::vector<Node> todo = {{dataset.layout.address, -1}};
  std::unordered_set<std::uint64_t> seen = {dataset.layout.address};
  std::vector<std::uint64_t> position(extents.size());
  while (!todo.empty()) {
    const Node node = todo.back();
    todo.pop_back();
    Cursor head = source.block(node.address, 8 + 2 * offsets, "TREE", false, what);
    if (head.u8() != 1) head.damaged("it is no tree of chunks");
    const int level = head.u8();
    const std::uint64_t count = head.u16();
    if (node.level >= 0 && level != node.level) head.damaged("a node of the wrong level");
    Cursor body(source, source.metadata(node.address, 8 + 2 * offsets + count * (key + offsets) + key, what), what);
    body.skip(8 + 2 * offsets);
    for (std::uint64_t i = 0; i < count; ++i) {
      Chunk chunk;
      chunk.size = body.u32();
      chunk.filter_mask = body.u32();
      bool inside = true;
      for (std::size_t axis = 0; axis < extents.size(); ++axis) {
        const std::uint64_t at = body.u64();
        if (level == 0 && at % extents[axis] != 0) body.damaged("a chunk lies between chunks");
        position[axis] = at / extents[axis];
        inside = inside && at < dataset.space.dims[axis];
      }
      body.u64();
      chunk.address = body.offset();
      if (level > 0) {
        if (!seen.insert(chunk.address).second) body.damaged("two nodes lie at one place");
        todo.push_back({chunk.address, level - 1});
      } else if (inside) {
        chunk.position = position;
        visit(chunk);
      }
    }
  }
}

void btree2(Source& source, const Dataset& dataset, const Visit& visit) {
  constexpr std::array<std::uint8_t, 2> kTypes = {10, 11};
  const std::vector<std::uint64_t>& extents = dataset.layout.chunk;
  const std::uint64_t whole = chunk_bytes(source, dataset);
  std::vector<std::uint64_t> position(extents.size());
  for_each_record(source, dataset.layout.address, kTypes, [&](std::uint8_t type, std::span<const std::uint8_t> record) {
    Cursor cursor(source, record, "a chunk index");
    Chunk chunk;
    chunk.address = cursor.offset();
    chunk.size = whole;
    if (type == 11) {
      const std::uint64_t rest = 4 + 8 * extents.size();
      if (cursor.remaining() <= rest || cursor.remaining() - rest > 8) cursor.damaged("impossible record size");
      chunk.size = cursor.sized(static_cast<int>(cursor.remaining() - rest));
      chunk.filter_mask = cursor.u32();
    }
    bool inside = true;
    for (std::size_t axis = 0; axis < extents.size(); ++axis) {
      position[axis] = cursor.u64();
      inside = inside && position[axis] < dataset.space.dims[axis] / extents[axis] + 1 &&
               position[axis] * extents[axis] < dataset.space.dims[axis];
    }
    if (!inside) return;
    chunk.position = position;
    visit(chunk);
  });
}

void implicit(Source& source, const Dataset& dataset, const Visit& visit) {
  Grid grid(source, dataset, false);
  const std::vector<std::uint64_t>& extents = dataset.layout.chunk;
  const std::uint64_t whole = chunk_bytes(source, dataset);
  std::uint64_t count = 1;
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    const std::uint64_t most = dataset.space.max_dims[axis];
    count = product(source, count, most / extents[axis] + (most % extents[axis] != 0));
  }
  source.data(dataset.layout.address, product(source, count, whole), "a dataset's chunks");
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!grid.locate(i)) continue;
    Chunk chunk;
    chunk.address = dataset.layout.address + i * whole;
    chunk.size = whole;
    chunk.position = grid.position();
    visit(chunk);
  }
}

}  // namespace

void for_each_chunk(Source& source, const Dataset& dataset, const Visit& visit) {
  const Layout& layout = dataset.layout;
  if (layout.address == kUndefined) return;  // nothing was ever written
  switch (layout.index) {
    case Layout::Index::btree1: return btree1(source, dataset, visit);
    case Layout::Index::fixed_array: return fixed_array(source, dataset, visit);
    case Layout::Index::extensible_array: return ExtensibleArray(source, dataset, visit).read();
    case Layout::Index::btree2: return btree2(source, dataset, visit);
    case Layout::Index::implicit: return implicit(source, dataset, visit);
    case Layout::Index::single: break;
  }
  const std::vector<std::uint64_t> origin(layout.chunk.size(), 0);
  Chunk chunk;
  chunk.position = origin;
  chunk.address = layout.address;
  chunk.size = dataset.filters.empty() ? chunk_bytes(source, dataset) : layout.size;
  chunk.filter_mask = layout.filter_mask;
  visit(chunk);
}

}  // namespace fovea::weights::hdf5
