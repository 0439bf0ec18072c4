// What the files of this folder share: primitives and packed weights that are kept, memory descriptors, running.
//
// Activations are NHWC as everywhere; weights are reordered into what the primitive prefers, kept by (storage, version)
// where they repeat. Creating a primitive costs 0.1 to 1 ms, so they are kept, least recently used out first.
// Scratchpads are ours: oneDNN's own belong to the thread that created the primitive, and ours may be run by another.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "core/view.h"
#include "kernels/activation.h"
#include "kernels/cpu/onednn/adapter.h"
#include "kernels/cpu/onednn/versions.h"

namespace fovea::kernels::onednn {

/// A primitive with what it takes to run it.
struct Ready {
  dnnl::primitive primitive;
  memory::desc src, weights, bias, dst;  ///< as the primitive wants them
  memory::desc user_weights;             ///< as they lie in our tensors
  std::optional<dnnl::reorder> reorder;  ///< of weights, into or (gradients) out of the primitive's layout
  std::size_t scratch_bytes = 0;
};

/// Everything a primitive was made for; begins with its kind.
using Key = std::array<std::int64_t, 24>;
enum Kind : std::int64_t { kConv, kMatmul, kPool };
std::uint64_t hash_of(const Key& key);
/// The primitive of this key, made if it is not kept. Thread-safe.
std::shared_ptr<const Ready> kept_primitive(const Key& key, const std::function<Ready()>& make);
/// Threads that a primitive made here and now will use: part of every key.
std::int64_t team();

/// Runs fn with oneDNN's team set to ours and its errors translated.
template <class Fn>
void guarded(const char* op, Fn&& fn) {
  fovea::detail::sync_thread_team();
  try {
    fn();
  } catch (const dnnl::error& e) {
    const bool memory = e.status == dnnl_out_of_memory;
    throw Error(memory ? ErrorKind::memory : ErrorKind::device, op, str("oneDNN ", version(), " failed: ", e.what()),
                memory ? "use a smaller batch or image size" : "set FOVEA_IMPL=simd to go without oneDNN");
  }
}

memory::desc f32_desc(const Dims& dims, const Dims& strides);
memory::desc any_desc(const Dims& dims);
/// oneDNN's dimensions are NCHW; the strides say that channels are innermost.
memory::desc nhwc(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c);
memory wrap(const memory::desc& desc, const void* data);

/// With a scratchpad that the caller provides.
primitive_attr attributes();
/// Whether the activation can be a post-op.
bool fuses(Activation kind);
void fuse(primitive_attr& attr, const ActivationParams& act);
/// The slope of a leaky ReLU as a part of a key, 0 for others.
std::int64_t slope_key(const ActivationParams& act);

void execute(const Ready& ready, std::unordered_map<int, memory>& args);
void run_reorder(const Ready& ready, const memory& from, const memory& to);

/// The weights as the primitive wants them: where they lie, or reordered into scratch, or kept from before.
struct PreparedWeights {
  memory value;
  std::shared_ptr<const float> kept;
};
/// @param rows of the product: from about 1000 on, reordering costs nothing next to it, and memory is not spent on it
PreparedWeights prepare_weights(const Ready& ready, const ConstView& w, const Key& key, std::int64_t rows);

}  // namespace fovea::kernels::onednn
