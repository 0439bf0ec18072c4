#include "core/large_blocks_internal.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <iterator>

namespace fovea::detail {
namespace {

thread_local bool apart = false;

}  // namespace

AllocationsApart::AllocationsApart() : outer_(apart) { apart = true; }
AllocationsApart::~AllocationsApart() { apart = outer_; }
bool AllocationsApart::active() { return apart; }

#if defined(__SANITIZE_ADDRESS__)
#define FOVEA_APART 1  // the sanitizer sees the ends of blocks that come from malloc
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define FOVEA_APART 1
#endif
#endif

LargeBlocks::LargeBlocks() {
#if !defined(FOVEA_APART) && defined(__linux__)
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page <= 0) return;
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t wanted = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) / kHugePage * kHugePage;
  void* const range =
      mmap(nullptr, wanted + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return;
  madvise(range, wanted + kHugePage, MADV_HUGEPAGE);  // fewer TLB misses and page faults; failure costs speed only
  const auto address = reinterpret_cast<std::uintptr_t>(range);
  base_ = top_ = static_cast<char*>(range) + (kHugePage - address % kHugePage) % kHugePage;
  reserved_ = wanted;
#endif
}

void* LargeBlocks::take(std::size_t bytes, std::size_t& fresh) {
  const std::size_t size = rounded(bytes);
  fresh = 0;
  if (const auto fit = by_size_.lower_bound({size, nullptr}); fit != by_size_.end()) {
    char* const block = fit->second;
    const std::size_t all = fit->first;
    erase(free_.find(block));
    if (all > size) insert(block + size, all - size);
    return block;
  }
  char* block = top_;
  // A free range at the end grows.
  const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
  if (last != free_.end() && last->first + last->second == top_) block = last->first;
  if (size > reserved_ - static_cast<std::size_t>(block - base_)) return nullptr;
  if (block != top_) erase(last);
  fresh = size - static_cast<std::size_t>(top_ - block);
  top_ = block + size;
  return block;
}

void LargeBlocks::give(void* block, std::size_t bytes) {
  char* begin = static_cast<char*>(block);
  std::size_t size = rounded(bytes);
  const auto next = free_.lower_bound(begin);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      begin = before->first;
      size += before->second;
      erase(before);
    }
  }
  if (next != free_.end() && next->first == static_cast<char*>(block) + rounded(bytes)) {
    size += next->second;
    erase(next);
  }
  insert(begin, size);
}

void LargeBlocks::release() {
  for (const auto& [begin, size] : free_) madvise(begin, size, MADV_DONTNEED);
}

void LargeBlocks::insert(char* begin, std::size_t bytes) {
  free_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
}

void LargeBlocks::erase(std::map<char*, std::size_t>::iterator range) {
  by_size_.erase({range->second, range->first});
  free_.erase(range);
}

}  // namespace fovea::detail
