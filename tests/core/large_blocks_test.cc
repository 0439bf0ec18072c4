// Large blocks from one range of addresses: never two at one place, and whatever is free grows together again.
#include <algorithm>
#include <cstring>
#include <vector>

#include "catch.h"
#include "core/large_blocks_internal.h"
#include "core/rng.h"
#include "core/tensor.h"

using namespace fovea;
using fovea::detail::LargeBlocks;

TEST_CASE("large blocks never overlap, and free ones grow together again") {
  LargeBlocks blocks;
  std::size_t fresh = 0;
  void* const first = blocks.take(LargeBlocks::kSmallest, fresh);
  if (!first) FOVEA_SKIP("no range of addresses could be reserved here (a sanitizer, or a limit)");
  CHECK(fresh);
  CHECK(blocks.owns(first));
  CHECK_FALSE(blocks.owns(&fresh));
  blocks.give(first, LargeBlocks::kSmallest);

  struct Block {
    char* at;
    std::size_t bytes;
  };
  std::vector<Block> live;
  Rng rng(3, "blocks");
  std::size_t held = 0, most = 0;
  for (int step = 0; step < 4000; ++step) {
    if (live.empty() || (rng.chance(0.55) && held < (std::size_t{64} << 20))) {
      const std::size_t bytes = 1 + rng.below(3 << 20);
      auto* const at = static_cast<char*>(blocks.take(bytes, fresh));
      REQUIRE(at);
      CHECK(reinterpret_cast<std::uintptr_t>(at) % 64 == 0);
      for (const Block& other : live) CHECK((at + bytes <= other.at || other.at + other.bytes <= at));
      at[0] = at[bytes - 1] = 1;  // it is there
      live.push_back({at, bytes});
      held += bytes;
      most = std::max(most, held);
    } else {
      const std::size_t i = rng.below(live.size());
      blocks.give(live[i].at, live[i].bytes);
      held -= live[i].bytes;
      live[i] = live.back();
      live.pop_back();
    }
  }
  for (const Block& block : live) blocks.give(block.at, block.bytes);
  // All that was ever held together fits what is free now, in one piece.
  void* const all = blocks.take(most, fresh);
  CHECK_FALSE(fresh);
  blocks.give(all, most);
  blocks.release();
  auto* const again = static_cast<char*>(blocks.take(most, fresh));
  CHECK_FALSE(fresh);
  again[most - 1] = 1;
  blocks.give(again, most);
  // More than the machine has is refused.
  CHECK(blocks.take(std::size_t{1} << 50, fresh) == nullptr);
}

TEST_CASE("large blocks taken apart leave the gaps of the others alone") {
  constexpr std::int64_t kBytes = 3 << 20;
  std::size_t fresh = 0;
  if (!LargeBlocks().take(kBytes, fresh))
    FOVEA_SKIP("no range of addresses could be reserved here (a sanitizer, or a limit)");
  const auto make = [] { return Tensor(Shape{kBytes}, DType::u8); };
  Tensor gap = make();
  const Tensor behind = make();
  const void* const where = gap.data<std::uint8_t>();
  gap = Tensor();
  const MemoryStats before = memory_stats();
  const void* elsewhere = nullptr;
  {
    const fovea::detail::AllocationsApart apart;
    const Tensor other = make();
    elsewhere = other.data<std::uint8_t>();
    CHECK(elsewhere != where);
    CHECK(memory_stats().current == before.current + kBytes);
  }
  CHECK(memory_stats().current == before.current);
  gap = make();
  CHECK(gap.data<std::uint8_t>() == where);
  // Its own gaps are filled again.
  const fovea::detail::AllocationsApart apart;
  const std::int64_t asked = memory_stats().system_allocations;
  CHECK(make().data<std::uint8_t>() == elsewhere);
  CHECK(memory_stats().system_allocations == asked);
}
