// The one place that compiles stb_image, restricted to PNG and BMP. It sees only bytes that png.cc and bmp.cc have
// checked, and its memory comes from a bounded pool that is emptied on every way out, so that it can neither bomb nor
// leak.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "image/codec.h"

namespace fovea::image::codec {
namespace {

// A block's size stands before it; 16 bytes keep malloc's alignment.
constexpr std::size_t kHeader = 16;

struct Pool {
  std::uint64_t budget = 0;
  std::uint64_t used = 0;
  bool exhausted = false;
  std::vector<std::byte*> blocks;

  ~Pool() {
    for (std::byte* block : blocks) std::free(block);
  }

  void* take(std::size_t size) {
    if (size > budget - used) {
      exhausted = true;
      return nullptr;
    }
    blocks.reserve(blocks.size() + 1);  // so that push_back cannot throw with a block in hand
    auto* block = static_cast<std::byte*>(std::malloc(size + kHeader));
    if (!block) {
      exhausted = true;
      return nullptr;
    }
    std::memcpy(block, &size, sizeof size);
    used += size;
    blocks.push_back(block);
    return block + kHeader;
  }

  static std::size_t size_of(void* pointer) {
    std::size_t size;
    std::memcpy(&size, static_cast<std::byte*>(pointer) - kHeader, sizeof size);
    return size;
  }

  void give(void* pointer) {
    if (!pointer) return;
    used -= size_of(pointer);
    std::byte* block = static_cast<std::byte*>(pointer) - kHeader;
    blocks.erase(std::find(blocks.begin(), blocks.end(), block));
    std::free(block);
  }

  void* resize(void* pointer, std::size_t size) {
    void* fresh = take(size);
    if (fresh && pointer) {
      std::memcpy(fresh, pointer, std::min(size, size_of(pointer)));
      give(pointer);
    }
    return fresh;
  }
};

thread_local Pool* current_pool = nullptr;

struct AssertionFailed {};

}  // namespace
}  // namespace fovea::image::codec

#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS (1 << 24)
// An assertion on file content must not end the program; the pool frees what the jump leaves behind.
#define STBI_ASSERT(x)                                      \
  do {                                                      \
    if (!(x)) throw fovea::image::codec::AssertionFailed{}; \
  } while (false)
#define STBI_MALLOC(size) fovea::image::codec::current_pool->take(size)
#define STBI_REALLOC(pointer, size) fovea::image::codec::current_pool->resize(pointer, size)
#define STBI_FREE(pointer) fovea::image::codec::current_pool->give(pointer)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // its callback fields, which reading from memory never uses
#endif
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace fovea::image::codec {

Raw stb_decode(Bytes bytes, int channels, std::uint64_t budget, const std::string& name) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Error(ErrorKind::memory, name,
                str("the picture takes ", bytes.size(), " bytes, more than this decoder's 2 GiB"));
  }
  Pool pool;
  pool.budget = budget;
  struct Use {
    explicit Use(Pool* pool) : before(current_pool) { current_pool = pool; }
    ~Use() { current_pool = before; }
    Pool* before;
  } use(&pool);

  int width = 0, height = 0, stored = 0;
  stbi_uc* pixels = nullptr;
  const char* reason = "inconsistent data";
  try {
    pixels = stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &stored, channels);
    if (!pixels) reason = stbi_failure_reason();
  } catch (const AssertionFailed&) {
    pixels = nullptr;
  } catch (const std::bad_alloc&) {
    pixels = nullptr;
    pool.exhausted = true;
  }
  if (!pixels) {
    if (pool.exhausted) throw Error(ErrorKind::memory, name, "out of memory while decoding this picture");
    throw Error(ErrorKind::format, name, str("damaged picture: ", reason ? reason : "unknown reason"));
  }
  Raw raw;
  raw.width = width;
  raw.height = height;
  raw.channels = channels;
  const std::uint64_t size =
      static_cast<std::uint64_t>(width) * static_cast<std::uint64_t>(height) * static_cast<std::uint64_t>(channels);
  raw.pixels = allocate(size, name);
  std::memcpy(raw.pixels.data(), pixels, size);
  return raw;
}

}  // namespace fovea::image::codec
