// The three heaps of HDF5: local (names of an old group), global (variable-length values), fractal (links of new groups
// and attributes where there are many).
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "models/weights/hdf5/bytes_internal.h"

namespace fovea::weights::hdf5 {

std::span<const std::uint8_t> local_heap(Source& source, std::uint64_t address) {
  const std::uint64_t lengths = static_cast<std::uint64_t>(source.length_size);
  Cursor head = source.block(address, 8 + 2 * lengths + static_cast<std::uint64_t>(source.offset_size), "HEAP", false,
                             "a group's name heap");
  if (head.u8() != 0) head.damaged("unknown version");
  head.skip(3);
  const std::uint64_t size = head.length();
  head.length();  // of free space
  return source.metadata(head.offset(), size, "a group's name heap");
}

std::string local_heap_text(Source& source, std::span<const std::uint8_t> heap, std::uint64_t offset) {
  if (offset >= heap.size()) source.damaged("a name lies outside its heap");
  const std::span<const std::uint8_t> rest = heap.subspan(static_cast<std::size_t>(offset));
  const auto end = std::find(rest.begin(), rest.end(), std::uint8_t{0});
  if (end == rest.end()) source.damaged("a name has no end");
  source.pay(static_cast<std::uint64_t>(end - rest.begin()) + 1);
  return {rest.begin(), end};
}

GlobalHeap read_global_heap(Source& source, std::uint64_t address) {
  const std::uint64_t lengths = static_cast<std::uint64_t>(source.length_size);
  Cursor head = source.block(address, 8 + lengths, "GCOL", false, "a heap of variable-length values");
  if (head.u8() != 1) head.damaged("unknown version");
  head.skip(3);
  const std::uint64_t size = head.length();
  Cursor body(source, source.metadata(address, size, "a heap of variable-length values"),
              "a heap of variable-length values");
  body.skip(8 + lengths);
  GlobalHeap objects;
  while (body.remaining() >= 8 + lengths) {
    const std::uint32_t index = body.u16();
    body.skip(6);  // reference count, reserved
    const std::uint64_t bytes = body.length();
    if (index == 0) break;  // the free space, which comes last
    const std::span<const std::uint8_t> object = body.take(bytes);
    body.skip(std::min<std::uint64_t>((8 - bytes % 8) % 8, body.remaining()));
    if (!objects.emplace(index, object).second) body.damaged("two objects have the same number");
  }
  return objects;
}

namespace {

/// Bytes that hold numbers up to `limit`.
int bytes_for(std::uint64_t limit) { return (std::max(1, static_cast<int>(std::bit_width(limit))) + 7) / 8; }

}  // namespace

FractalHeap::FractalHeap(Source& source, std::uint64_t address) : source_(&source), address_(address) {
  const auto offsets = static_cast<std::uint64_t>(source.offset_size);
  const auto lengths = static_cast<std::uint64_t>(source.length_size);
  Cursor head = source.block(address, 26 + 3 * offsets + 12 * lengths, "FRHP", true, "a fractal heap");
  if (head.u8() != 0) head.damaged("unknown version");
  id_length_ = head.u16();
  if (head.u16() != 0) source.unsupported("a compressed heap of names");
  checksums_ = (head.u8() & 2) != 0;
  const std::uint64_t max_managed = head.u32();
  head.length();  // next huge id
  huge_index_ = head.offset();
  head.length();                              // free space
  head.offset();                              // its manager
  for (int i = 0; i < 8; ++i) head.length();  // statistics
  width_ = head.u16();
  start_size_ = head.length();
  max_direct_ = head.length();
  const int bits = head.u16();
  head.u16();  // rows at the start
  const std::uint64_t root = head.offset();
  const std::uint64_t rows = head.u16();
  if (!std::has_single_bit(width_) || !std::has_single_bit(start_size_) || !std::has_single_bit(max_direct_) ||
      start_size_ > max_direct_ || max_direct_ > std::uint64_t{1} << 32 || bits < 1 || bits > 64 || rows > 64) {
    head.damaged("impossible sizes");
  }
  offset_bytes_ = (bits + 7) / 8;
  length_bytes_ = bytes_for(std::min(max_direct_, max_managed));
  if (root == kUndefined) return;
  if (rows == 0) {
    add_direct(root, 0, start_size_);
    return;
  }
  struct Item {
    std::uint64_t address, offset, rows;
  };
  std::vector<Item> todo = {{root, 0, rows}};
  std::unordered_set<std::uint64_t> seen = {root};
  const std::uint64_t direct_rows = static_cast<std::uint64_t>(std::countr_zero(max_direct_ / start_size_)) + 2;
  const std::uint64_t block_head = 5 + offsets + static_cast<std::uint64_t>(offset_bytes_);
  while (!todo.empty()) {
    const Item item = todo.back();
    todo.pop_back();
    Cursor block = source.block(item.address, block_head + item.rows * width_ * offsets + 4, "FHIB", true,
                                "an indirect block of a fractal heap");
    if (block.u8() != 0) block.damaged("unknown version");
    if (block.offset() != address_) block.damaged("it belongs to another heap");
    if (block.sized(std::min(offset_bytes_, 8)) != item.offset) block.damaged("it is not where it should be");
    std::uint64_t offset = item.offset;
    for (std::uint64_t row = 0; row < item.rows; ++row) {
      const std::uint64_t size = row_size(row);
      for (std::uint64_t column = 0; column < width_; ++column, offset += size) {
        const std::uint64_t child = block.offset();
        if (child == kUndefined) continue;
        if (!seen.insert(child).second) block.damaged("two blocks lie at one place");
        if (row < direct_rows) {
          add_direct(child, offset, size);
        } else {
          const std::uint64_t unit = product(source, width_, start_size_);
          if (size < unit) block.damaged("impossible sizes");
          todo.push_back({child, offset, static_cast<std::uint64_t>(std::countr_zero(size / unit)) + 1});
        }
      }
    }
  }
  std::sort(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) { return a.offset < b.offset; });
}

std::uint64_t FractalHeap::row_size(std::uint64_t row) const {
  const std::uint64_t shift = row == 0 ? 0 : row - 1;
  if (shift > 62 || start_size_ > (std::uint64_t{1} << 62) >> shift) source_->damaged("a fractal heap is too large");
  return start_size_ << shift;
}

void FractalHeap::add_direct(std::uint64_t address, std::uint64_t offset, std::uint64_t size) {
  Cursor block = source_->block(address, size, "FHDB", false, "a block of a fractal heap");
  const std::span<const std::uint8_t> bytes = source_->data(address, size, "a block of a fractal heap");
  if (block.u8() != 0) block.damaged("unknown version");
  if (block.offset() != address_) block.damaged("it belongs to another heap");
  if (block.sized(offset_bytes_) != offset) block.damaged("it is not where it should be");
  if (checksums_ && verify_checksums) {
    const std::size_t at = block.position();
    const std::uint32_t stored = block.u32();
    std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
    std::memset(copy.data() + at, 0, 4);  // the checksum is of the block with zeros in its place
    if (metadata_checksum(copy) != stored) block.damaged(str("the checksum at ", address, " is wrong"));
  }
  blocks_.push_back({offset, size, bytes});
}

std::span<const std::uint8_t> FractalHeap::object(std::span<const std::uint8_t> id_bytes) {
  const char* what = "an object of a fractal heap";
  if (id_bytes.size() < static_cast<std::size_t>(std::max(id_length_, 1))) source_->damaged("a heap ID is too short");
  Cursor id(*source_, id_bytes, what);
  const std::uint8_t kind = id.u8();
  if ((kind & 0xc0) != 0) id.damaged("unknown version");
  switch (kind >> 4 & 3) {
    case 0: {
      const std::uint64_t offset = id.sized(offset_bytes_);
      const std::uint64_t length = id.sized(length_bytes_);
      auto after = std::upper_bound(blocks_.begin(), blocks_.end(), offset,
                                    [](std::uint64_t at, const Block& block) { return at < block.offset; });
      if (after == blocks_.begin()) id.damaged("it lies in no block");
      const Block& block = *--after;
      const std::uint64_t within = offset - block.offset;
      if (within > block.size || length > block.size - within) id.damaged("it does not lie in its block");
      source_->pay(length);
      return block.bytes.subspan(static_cast<std::size_t>(within), static_cast<std::size_t>(length));
    }
    case 1: {
      read_huge_index();
      const auto found = huge_.find(id.sized(std::min(id_length_ - 1, source_->length_size)));
      if (found == huge_.end()) id.damaged("it is not in the index of large objects");
      return source_->metadata(found->second.first, found->second.second, what);
    }
    case 2: {
      // Short IDs keep the length in four bits, long ones in twelve.
      std::uint64_t length = kind & 15;
      if (id_length_ > 18) length = length << 8 | id.u8();
      return id.take(length + 1);
    }
    default: id.damaged("unknown kind");
  }
}

void FractalHeap::read_huge_index() {
  if (huge_read_) return;
  huge_read_ = true;
  if (huge_index_ == kUndefined) return;
  if (id_length_ - 1 >= source_->offset_size + source_->length_size) {
    source_->unsupported("large heap objects that are named by address");
  }
  constexpr std::array<std::uint8_t, 1> kIndirect = {1};
  for_each_record(*source_, huge_index_, kIndirect, [&](std::uint8_t, std::span<const std::uint8_t> record) {
    Cursor cursor(*source_, record, "the index of large heap objects");
    const std::uint64_t address = cursor.offset();
    const std::uint64_t size = cursor.length();
    if (!huge_.emplace(cursor.length(), std::pair(address, size)).second) cursor.damaged("one number occurs twice");
  });
}

}  // namespace fovea::weights::hdf5
