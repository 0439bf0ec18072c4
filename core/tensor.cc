#include "core/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/allocation_trace_internal.h"
#include "core/poison.h"
#include "core/threads/parallel.h"

namespace fovea {

void detail::wrong_dtype(DType wanted, DType have, const Shape& shape) {
  throw Error(ErrorKind::usage, "view",
              str("expected elements of type ", to_string(wanted), ", tensor ", shape, " has ", to_string(have)),
              "convert it with tensor.to(dtype)");
}

namespace {
std::uint64_t next_storage_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

/// Calls fn with a value of the C++ type of `dtype`.
template <class Fn>
void dispatch(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32: return fn(float{});
    case DType::f64: return fn(double{});
    case DType::bf16: return fn(bf16{});
    case DType::f16: return fn(f16{});
    case DType::i8: return fn(std::int8_t{});
    case DType::u8: return fn(std::uint8_t{});
    case DType::i32: return fn(std::int32_t{});
    case DType::i64: return fn(std::int64_t{});
  }
}

template <class To, class From>
To convert(From value) {
  constexpr bool small_from = std::is_same_v<From, bf16> || std::is_same_v<From, f16>;
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (small_from) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bf16> || std::is_same_v<To, f16>) {
    return To(static_cast<float>(value));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if (std::isnan(value)) return To{0};
    const From rounded = std::nearbyint(value);
    if (rounded <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (rounded >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(rounded);
  } else if constexpr (std::is_integral_v<To> && std::is_integral_v<From>) {
    if (std::cmp_less(value, std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (std::cmp_greater(value, std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

thread_local int poisoning = 0;

constexpr std::int64_t kGrain = 1 << 15;  // elements per chunk below which a second thread does not pay
}  // namespace

Storage::Storage(std::size_t bytes, Device device)
    : data_(backend(device).allocate(bytes, device.index)),
      bytes_(bytes),
      device_(device),
      id_(next_storage_id()),
      owned_(true) {
  if (device.type != DeviceType::cpu) return;
  if (poisoning > 0 && data_) std::memset(data_, 0xFF, bytes);
  AllocationTrace::taken(id_, bytes);
}

PoisonAllocations::PoisonAllocations() { ++poisoning; }
PoisonAllocations::~PoisonAllocations() { --poisoning; }

Storage::Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<const void> owner)
    : data_(data), bytes_(bytes), device_(device), id_(next_storage_id()), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (!owned_) return;
  backend(device_).deallocate(data_, bytes_, device_.index);
  AllocationTrace::freed(id_);
}

Tensor::Tensor(const Shape& shape, DType dtype, Device device) : impl_(std::make_shared<Impl>()) {
  const std::int64_t bytes = checked_mul(shape.numel(), static_cast<std::int64_t>(dtype_size(dtype)), "tensor");
  impl_->storage = std::make_shared<Storage>(static_cast<std::size_t>(bytes), device);
  impl_->shape = shape;
  impl_->dtype = dtype;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t(shape, dtype, device);
  t.zero();
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::from_raw(const Shape& shape, DType dtype, const void* values, std::size_t count) {
  if (static_cast<std::int64_t>(count) != shape.numel()) {
    throw Error(ErrorKind::shape, "tensor", str(shape, " holds ", shape.numel(), " elements, ", count, " were given"));
  }
  Tensor t(shape, dtype);
  if (count > 0) std::copy_n(static_cast<const char*>(values), t.nbytes(), static_cast<char*>(t.address()));
  return t;
}

Tensor Tensor::borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner, Device device) {
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  const std::int64_t bytes = checked_mul(shape.numel(), static_cast<std::int64_t>(dtype_size(dtype)), "tensor");
  t.impl_->storage = std::make_shared<Storage>(data, static_cast<std::size_t>(bytes), device, std::move(owner));
  t.impl_->shape = shape;
  t.impl_->dtype = dtype;
  return t;
}

void Tensor::undefined() {
  throw Error(ErrorKind::usage, "tensor", "this tensor is undefined: it was default-constructed and never assigned");
}

void* Tensor::address() const {
  const Impl& i = impl();
  return static_cast<char*>(i.storage->data()) + i.offset * static_cast<std::int64_t>(dtype_size(i.dtype));
}

const void* Tensor::host_data(DType wanted) const {
  if (dtype() != wanted) detail::wrong_dtype(wanted, dtype(), shape());
  if (device().type != DeviceType::cpu) {
    throw Error(ErrorKind::device, "tensor", str("data is on ", device(), ", not in CPU memory"),
                "copy it with tensor.to(kCpu)");
  }
  return address();
}

void* Tensor::mutable_host_data(DType wanted) {
  host_data(wanted);
  impl().storage->bump_version();
  return address();
}

double Tensor::item() const {
  if (numel() != 1) throw Error(ErrorKind::shape, "item", str("expected one element, tensor has shape ", shape()));
  return to_vector<double>()[0];
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor converted = to(kCpu).to(dtype_of<T>);
  const auto span = converted.values<T>();
  return {span.begin(), span.end()};
}
template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<std::int64_t> Tensor::to_vector<std::int64_t>() const;

ConstView Tensor::view() const {
  const Impl& i = impl();
  return {address(), i.shape, i.dtype, i.storage->device(), i.storage->id(), i.storage->version()};
}

View Tensor::mutable_view() {
  const Impl& i = impl();
  i.storage->bump_version();
  return {address(), i.shape, i.dtype, i.storage->device(), i.storage->id(), i.storage->version()};
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  const Impl& i = impl();
  if (i.shape.rank() == 0 || begin < 0 || begin > end || end > i.shape[0]) {
    throw Error(ErrorKind::shape, "slice", str("rows ", begin, " to ", end, " do not exist in ", i.shape));
  }
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->storage = i.storage;
  t.impl_->shape = i.shape.with_dim(0, end - begin);
  t.impl_->dtype = i.dtype;
  t.impl_->offset = i.offset + (i.shape[0] == 0 ? 0 : begin * (i.shape.numel() / i.shape[0]));
  return t;
}

Tensor Tensor::view_as(const Shape& shape) const {
  const Impl& i = impl();
  if (shape.numel() != i.shape.numel()) {
    throw Error(ErrorKind::shape, "reshape",
                str(i.shape, " holds ", i.shape.numel(), " elements, ", shape, " would hold ", shape.numel()));
  }
  Tensor t;
  t.impl_ = std::make_shared<Impl>();
  t.impl_->storage = i.storage;
  t.impl_->shape = shape;
  t.impl_->dtype = i.dtype;
  t.impl_->offset = i.offset;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t(shape(), dtype(), device());
  backend(device()).copy(t.address(), address(), nbytes(), device().index);
  return t;
}

Tensor Tensor::to(Device target) const {
  if (device() == target) return *this;
  Tensor t(shape(), dtype(), target);
  if (target.type == DeviceType::meta) return t;
  if (device().type == DeviceType::cpu) {
    backend(target).copy_from_host(t.address(), address(), nbytes(), target.index);
  } else if (target.type == DeviceType::cpu) {
    backend(device()).copy_to_host(t.address(), address(), nbytes(), device().index);
  } else {
    return to(kCpu).to(target);
  }
  return t;
}

Tensor Tensor::to(DType target) const {
  if (dtype() == target) return *this;
  if (is_meta()) return Tensor(shape(), target, kMeta);
  if (device().type != DeviceType::cpu) {
    Tensor there(shape(), target, device());
    if (backend(device()).convert(address(), dtype(), there.address(), target, numel(), device().index)) return there;
    return to(kCpu).to(target).to(device());
  }
  Tensor t(shape(), target);
  const void* from = address();
  void* to = t.address();
  dispatch(dtype(), [&]<class From>(From) {
    dispatch(target, [&]<class To>(To) {
      parallel_for(numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          static_cast<To*>(to)[i] = convert<To>(static_cast<const From*>(from)[i]);
      });
    });
  });
  return t;
}

void Tensor::copy_from(const Tensor& other) {
  if (other.shape() != shape())
    throw Error(ErrorKind::shape, "copy", str("tensor is ", shape(), ", source is ", other.shape()));
  if (other.dtype() != dtype()) detail::wrong_dtype(dtype(), other.dtype(), other.shape());
  impl().storage->bump_version();
  if (other.device() == kCpu && device().type == DeviceType::cuda) {
    backend(device()).copy_from_host(address(), other.address(), nbytes(), device().index);
    return;
  }
  const Tensor here = other.to(device());
  backend(device()).copy(address(), here.address(), nbytes(), device().index);
}

void Tensor::fill(double value) {
  if (value == 0 && !std::signbit(value)) return zero();
  if (device().type != DeviceType::cpu) {
    if (!is_meta()) copy_from(Tensor::full(shape(), value, dtype()));
    return;
  }
  impl().storage->bump_version();
  dispatch(dtype(), [&]<class T>(T) {
    const T v = convert<T>(value);
    T* out = static_cast<T*>(address());
    parallel_for(numel(), kGrain, [&](std::int64_t begin, std::int64_t end) { std::fill(out + begin, out + end, v); });
  });
}

void Tensor::zero() {
  impl().storage->bump_version();
  backend(device()).zero(address(), nbytes(), device().index);
}

void Tensor::accumulate(const Tensor& other) {
  if (other.shape() != shape() || other.dtype() != dtype() || other.device() != device()) {
    throw Error(ErrorKind::shape, "accumulate", str("cannot add ", other.to_string(), " to ", to_string()));
  }
  impl().storage->bump_version();
  backend(device()).accumulate(address(), other.address(), numel(), dtype(), device().index);
}

Tensor& Tensor::set_requires_grad(bool on) {
  if (on && !is_floating(dtype())) {
    throw Error(ErrorKind::usage, "requires_grad",
                str("only floating tensors have gradients, not ", fovea::to_string(dtype())));
  }
  impl().requires_grad = on;
  return *this;
}

void Tensor::set_grad(Tensor grad) {
  if (!grad.defined()) {
    impl().grad.reset();
    return;
  }
  if (grad.shape() != shape() || grad.dtype() != dtype()) {
    throw Error(ErrorKind::shape, "grad", str("gradient ", grad.to_string(), " does not fit tensor ", to_string()));
  }
  impl().grad = std::make_unique<Tensor>(std::move(grad));
}

std::string Tensor::to_string() const {
  if (!defined()) return "undefined tensor";
  return str(fovea::to_string(dtype()), " ", shape(), " on ", device());
}

}  // namespace fovea
