#include "kernels/cpu/scratch.h"

#include <new>

#include "core/error.h"

namespace fovea::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Buffer {
  float* data = nullptr;
  std::size_t count = 0;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ::operator delete(data, kAlignment); }

  void grow(std::size_t wanted) {
    ::operator delete(data,
                      kAlignment);  // first: the old contents are of no use, and both at once would double the peak
    data = nullptr;
    count = 0;
    // An eighth more, so that slowly growing sizes do not reallocate each time.
    const std::size_t floats = line_floats(wanted + wanted / 8);
    data = static_cast<float*>(::operator new(floats * sizeof(float), kAlignment, std::nothrow));
    if (!data) {
      throw Error(ErrorKind::memory, "scratch",
                  str("no memory for ", floats * sizeof(float), " bytes of kernel scratch"),
                  "use a smaller batch or image size");
    }
    count = floats;
  }
};

}  // namespace

float* scratch(ScratchSlot slot, std::size_t count) {
  thread_local Buffer buffers[2];
  Buffer& buffer = buffers[static_cast<int>(slot)];
  if (count > buffer.count || !buffer.data) buffer.grow(count);
  return buffer.data;
}

}  // namespace fovea::kernels
