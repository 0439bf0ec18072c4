// Networks and the plans that they keep by shape.
#include "infer/graph/network.h"

#include <list>

#include "core/device.h"
#include "core/error.h"
#include "image/views.h"
#include "infer/graph/lower_internal.h"
#include "infer/graph/network_file_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::infer {

struct Network::Impl {
  std::shared_ptr<const Lowered> lowered;
  image::Preprocessing preprocessing;
  std::vector<std::string> class_names;
  std::string architecture;
  std::list<Plan> plans;  // the latest first
};

// A data set's last batch and a handful of sizes; more would keep memory for shapes that do not come back.
constexpr std::size_t kMaxPlans = 8;

Network::Network() = default;
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;
Network& Network::operator=(Network&&) noexcept = default;

Network::Network(NetworkFile&& from, DType dtype) : impl_(std::make_unique<Impl>()) {
  if (dtype != DType::f32 && dtype != DType::bf16) {
    throw Error(ErrorKind::usage, "compile", str("'", to_string(dtype), "' is no type of compiled inference"),
                "f32 and bf16 are");
  }
  using kernels::simd::Element;
  const bool bf16 = dtype == DType::bf16 && kernels::simd::bf16_products_pay();
  impl_->lowered = pack(std::move(from.graph), bf16 ? Element::bf16 : Element::f32);
  impl_->preprocessing = from.preprocessing;
  impl_->class_names = std::move(from.class_names);
  impl_->architecture = std::move(from.architecture);
}

Network::Impl& Network::impl() const {
  if (!impl_) throw Error(ErrorKind::usage, "network", "nothing is loaded", "load one with infer::load");
  return *impl_;
}

const image::Preprocessing& Network::preprocessing() const { return impl().preprocessing; }
const std::vector<std::string>& Network::class_names() const { return impl().class_names; }
const std::string& Network::architecture() const { return impl().architecture; }
DType Network::dtype() const {
  using kernels::simd::Element;
  const Lowered& lowered = *impl().lowered;
  for (const PackedNode& p : lowered.packed) {
    if (p.in == Element::u8) return DType::i8;
  }
  return lowered.element == Element::bf16 ? DType::bf16 : DType::f32;
}
Shape Network::input_shape() const {
  const image::Preprocessing& p = impl().preprocessing;
  return {1, p.height, p.width, p.channels};
}

Plan& Network::plan(const Shape& input) {
  std::list<Plan>& plans = impl().plans;
  for (auto it = plans.begin(); it != plans.end(); ++it) {
    if (it->input_shape() != input) continue;
    plans.splice(plans.begin(), plans, it);
    return plans.front();
  }
  plans.emplace_front(plan_for(impl_->lowered, input));
  if (plans.size() > kMaxPlans) plans.pop_back();
  return plans.front();
}

Tensor Network::operator()(const Tensor& x) {
  return image::forward_views(impl().preprocessing, x, [this](const Tensor& view) { return plan(view.shape())(view); });
}

Tensor Network::operator()(const image::Image& picture) {
  Tensor x(input_shape());
  image::to_floats(picture, impl_->preprocessing, x.mutable_data<float>());
  return (*this)(x);
}

Network load(const std::string& path, DType dtype) {
  Network network(read_network(path), dtype);
  release_cached_memory();  // of folding and packing: as much as the weights once more
  return network;
}

}  // namespace fovea::infer
