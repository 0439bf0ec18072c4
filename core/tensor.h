// Tensor: a dense, row-major, reference-counted array (NHWC for images and activations). Copies share memory; clone()
// copies it.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/view.h"

namespace fovea {

/// Shape and element type: what a tensor will be, without its memory.
struct TensorSpec {
  Shape shape;
  DType dtype = DType::f32;
  bool absent = false;  ///< an optional operand (a bias) that is not there
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

/// Device memory with an identity: `id` is never reused and `version` counts in-place writes, so caches can key on
/// both.
class FOVEA_API Storage {
 public:
  Storage(std::size_t bytes, Device device);
  /// Borrows memory that `owner` keeps alive (a mapped file, a user's buffer).
  Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::uint64_t id() const { return id_; }
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  void bump_version() { version_.fetch_add(1, std::memory_order_acq_rel); }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  std::uint64_t id_;
  std::atomic<std::uint64_t> version_{0};
  std::shared_ptr<const void> owner_;
  bool owned_ = false;
};

struct TapeAccess;

class FOVEA_API Tensor {
 public:
  /// Undefined: defined() is false and everything else but assignment throws.
  Tensor() = default;
  /// Uninitialised memory.
  explicit Tensor(const Shape& shape, DType dtype = DType::f32, Device device = kCpu);
  explicit Tensor(const TensorSpec& spec, Device device = kCpu) : Tensor(spec.shape, spec.dtype, device) {}

  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = kCpu);
  static Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = kCpu) {
    return full(shape, 1.0, dtype, device);
  }
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = kCpu);
  /// Copies values; Error{shape} unless their count is the shape's.
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    return from_raw(shape, dtype_of<T>, values.data(), values.size());
  }
  template <class T>
  static Tensor from(const Shape& shape, const std::vector<T>& values) {
    return from(shape, std::span<const T>(values));
  }
  template <class T>
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor scalar(T value) {
    return from(Shape{}, std::span<const T>(&value, 1));
  }
  /// A tensor over memory that `owner` keeps alive; nothing is copied.
  static Tensor borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner,
                       Device device = kCpu);

  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return impl().shape; }
  std::int64_t dim(int axis) const { return impl().shape.dim(axis); }
  int rank() const { return impl().shape.rank(); }
  std::int64_t numel() const { return impl().shape.numel(); }
  DType dtype() const { return impl().dtype; }
  std::size_t nbytes() const { return static_cast<std::size_t>(numel()) * dtype_size(dtype()); }
  Device device() const { return impl().storage->device(); }
  bool is_meta() const { return device().type == DeviceType::meta; }
  /// Absent for an undefined tensor.
  TensorSpec spec() const { return defined() ? TensorSpec{shape(), dtype()} : TensorSpec{{}, DType::f32, true}; }

  /// Typed access to CPU memory. Error{usage} for another element type, Error{device} elsewhere. The mutable one counts
  /// as a write.
  template <class T>
  const T* data() const {
    return static_cast<const T*>(host_data(dtype_of<T>));
  }
  template <class T>
  T* mutable_data() {
    return static_cast<T*>(mutable_host_data(dtype_of<T>));
  }
  template <class T>
  std::span<const T> values() const {
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  /// The only element, as double. Error{shape} unless numel() is 1.
  double item() const;
  /// All elements converted to T, in order.
  template <class T>
  std::vector<T> to_vector() const;

  /// What kernels read and write. mutable_view() counts as an in-place write (bumps the version).
  ConstView view() const;
  View mutable_view();

  /// Rows [begin, end) of the first axis, sharing memory. Not recorded by the tape.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  /// The same memory under another shape of equal count. Not recorded by the tape (see reshape() in layers/).
  Tensor view_as(const Shape& shape) const;
  /// A copy of the values, on the same or another device.
  Tensor clone() const;
  Tensor to(Device device) const;
  /// Converts elements (floating to integer rounds to nearest even and saturates); the same tensor if nothing changes.
  Tensor to(DType dtype) const;
  /// Overwrites this tensor's elements; Error{shape}/{usage} unless shape and element type agree.
  void copy_from(const Tensor& other);
  void fill(double value);
  void zero();
  /// this += other, in place: f32, f64 and bf16, on a GPU also f16.
  void accumulate(const Tensor& other);

  // ---- what the tape keeps with a tensor (core/autograd/tape.h)
  /// Leaves that require gradients (parameters) receive them in grad() from Tape::backward.
  bool requires_grad() const { return defined() && impl_->requires_grad; }
  Tensor& set_requires_grad(bool on = true);
  /// The gradient summed over backward passes since zero_grad(); undefined if there was none.
  Tensor grad() const { return defined() && impl_->grad ? *impl_->grad : Tensor(); }
  void set_grad(Tensor grad);
  void zero_grad() { set_grad(Tensor()); }

  std::uint64_t version() const { return impl().storage->version(); }
  std::uint64_t storage_id() const { return impl().storage->id(); }
  /// True if both are the same tensor object (same memory and same gradient).
  bool is(const Tensor& other) const { return impl_ == other.impl_; }
  /// An address that identifies the tensor object while it lives.
  const void* identity() const { return impl_.get(); }
  /// How many Tensor objects share this one.
  long use_count() const { return impl_.use_count(); }
  bool shares_storage_with(const Tensor& other) const { return impl().storage == other.impl().storage; }
  /// True if no other tensor refers to the same memory: it may be overwritten without anyone noticing.
  bool unique() const { return impl_.use_count() == 1 && impl().storage.use_count() == 1; }

  /// "f32 2×224×224×3 on cpu", for messages.
  std::string to_string() const;

 private:
  friend struct TapeAccess;
  struct Impl {
    std::shared_ptr<Storage> storage;
    Shape shape;
    DType dtype = DType::f32;
    std::int64_t offset = 0;  // in elements
    bool requires_grad = false;
    std::unique_ptr<Tensor> grad;
    // The tape that produced this tensor (0: none) and the tensor's slot there.
    std::uint64_t tape = 0;
    std::int32_t slot = -1;
  };

  static Tensor from_raw(const Shape& shape, DType dtype, const void* values, std::size_t count);
  Impl& impl() const {
    if (!impl_) undefined();
    return *impl_;
  }
  [[noreturn]] static void undefined();
  void* address() const;
  const void* host_data(DType wanted) const;
  void* mutable_host_data(DType wanted);

  std::shared_ptr<Impl> impl_;
};

/// What kernels read of a tensor that may be undefined.
inline OptionalView optional_view(const Tensor& t) { return t.defined() ? OptionalView(t.view()) : std::nullopt; }

extern template FOVEA_API std::vector<float> Tensor::to_vector<float>() const;
extern template FOVEA_API std::vector<double> Tensor::to_vector<double>() const;
extern template FOVEA_API std::vector<std::int64_t> Tensor::to_vector<std::int64_t>() const;

}  // namespace fovea
