// Kept primitives, descriptors and running of primitives: see primitives.h.
#ifdef FOVEA_ONEDNN

#include "kernels/cpu/onednn/primitives.h"

#include <cstring>
#include <list>
#include <mutex>

#include "kernels/cpu/pack_cache.h"
#include "kernels/cpu/scratch.h"

namespace fovea::kernels::onednn {
namespace {

struct KeyHash {
  std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(hash_of(key)); }
};

class PrimitiveCache {
 public:
  template <class Make>
  std::shared_ptr<const Ready> get(const Key& key, Make&& make) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = index_.find(key); found != index_.end()) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->second;
      }
    }
    auto made = std::make_shared<const Ready>(make());  // outside the lock; two threads may make the same one
    const std::lock_guard lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) return found->second->second;
    order_.emplace_front(key, made);
    index_[key] = order_.begin();
    if (order_.size() > kMaxPrimitives) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return made;
  }
  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return order_.size();
  }

 private:
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Ready>>> order_;
  std::unordered_map<Key, std::list<std::pair<Key, std::shared_ptr<const Ready>>>::iterator, KeyHash> index_;
};

PrimitiveCache& primitives() {
  static auto* made = new PrimitiveCache;
  return *made;
}

}  // namespace

dnnl::engine& engine() {
  static auto* made =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);  // never destroyed: threads may outlive static objects
  return *made;
}

std::uint64_t hash_of(const Key& key) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const std::int64_t v : key) h = (h ^ static_cast<std::uint64_t>(v)) * 0x100000001b3u;
  return h ^ (h >> 31);
}

std::shared_ptr<const Ready> kept_primitive(const Key& key, const std::function<Ready()>& make) {
  return primitives().get(key, make);
}

std::int64_t team() { return in_parallel() ? 1 : num_threads(); }

memory::desc f32_desc(const Dims& dims, const Dims& strides) { return {dims, memory::data_type::f32, strides}; }
memory::desc any_desc(const Dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }
memory::desc nhwc(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) {
  return f32_desc({n, c, h, w}, {h * w * c, 1, w * c, c});
}
memory wrap(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

primitive_attr attributes() {
  primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

bool fuses(Activation kind) {
  return kind == Activation::none || kind == Activation::relu || kind == Activation::relu6 ||
         kind == Activation::leaky_relu;
}
void fuse(primitive_attr& attr, const ActivationParams& act) {
  dnnl::post_ops ops;
  switch (act.kind) {
    case Activation::relu: append_eltwise(ops, algorithm::eltwise_relu, 0, 0); break;
    case Activation::relu6: append_eltwise(ops, algorithm::eltwise_clip, 0, 6); break;
    case Activation::leaky_relu: append_eltwise(ops, algorithm::eltwise_relu, static_cast<float>(act.alpha), 0); break;
    default: return;
  }
  attr.set_post_ops(ops);
}

void execute(const Ready& ready, std::unordered_map<int, memory>& args) {
  if (ready.scratch_bytes > 0) {
    const memory::desc pad({static_cast<std::int64_t>(ready.scratch_bytes)}, memory::data_type::u8,
                           memory::format_tag::a);
    args[DNNL_ARG_SCRATCHPAD] = wrap(pad, scratch(ScratchSlot::worker, (ready.scratch_bytes + 3) / 4));
  }
  dnnl::stream stream(engine());
  ready.primitive.execute(stream, args);
  stream.wait();
}

void run_reorder(const Ready& ready, const memory& from, const memory& to) {
  dnnl::stream stream(engine());
  ready.reorder->execute(stream, const_cast<memory&>(from), const_cast<memory&>(to));
  stream.wait();
}

std::int64_t slope_key(const ActivationParams& act) {
  std::int64_t slope = 0;
  if (act.kind == Activation::leaky_relu) std::memcpy(&slope, &act.alpha, sizeof slope);
  return slope;
}

PreparedWeights prepare_weights(const Ready& ready, const ConstView& w, const Key& key, std::int64_t rows) {
  if (!ready.reorder) return {wrap(ready.weights, w.data), nullptr};
  const std::size_t floats = (ready.weights.get_size() + 3) / 4;
  const auto fill = [&](float* to) { run_reorder(ready, wrap(ready.user_weights, w.data), wrap(ready.weights, to)); };
  if (cacheable(w) && rows < 1024) {
    PackKey pack{"onednn", w.data, w.storage_id, {}};
    // The layout follows from the whole problem; a hash of it keeps the key short, and the size is checked on top.
    pack.layout[0] = static_cast<std::int64_t>(hash_of(key));
    pack.layout[1] = key[1];
    pack.layout[2] = static_cast<std::int64_t>(floats);
    auto kept = cached_pack(pack, w.version, floats, fill);
    return {wrap(ready.weights, kept.get()), kept};
  }
  float* const to = scratch(ScratchSlot::caller, floats);
  fill(to);
  return {wrap(ready.weights, to), nullptr};
}

std::size_t cached_primitives() { return primitives().size(); }

const char* version() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return str(v->major, ".", v->minor, ".", v->patch);
  }();
  return text.c_str();
}

}  // namespace fovea::kernels::onednn

#endif  // FOVEA_ONEDNN
