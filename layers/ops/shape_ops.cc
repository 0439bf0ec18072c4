#include "layers/ops/shape_ops.h"

#include "core/autograd/tape.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

/// An op whose result is its operand's memory under another shape: forward and backward copy nothing.
class ViewOp : public Op {
 public:
  void forward(ForwardContext& context) const final {
    context.out[0] = context.in[0].view_as(context.out_spec[0].shape);
  }
  void backward(BackwardContext& context) const final {
    context.grad_in[0] = context.grad_out[0].view_as(context.in_spec[0].shape);
  }
  Keep keep() const final { return {0, 0}; }
};

class FlattenOp final : public ViewOp {
 public:
  std::string_view type() const override { return "flatten"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const Shape& x = in[0].shape;
    if (x.rank() < 1) throw Error(ErrorKind::shape, type(), "a scalar has no batch");
    std::int64_t rest = 1;
    for (int i = 1; i < x.rank(); ++i) rest *= x[i];
    return {{Shape{x[0], rest}, in[0].dtype}};
  }
};

class IdentityOp final : public ViewOp {
 public:
  std::string_view type() const override { return "identity"; }
  Attributes attributes() const override { return {}; }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    return {in[0]};
  }
};

class ReshapeOp final : public ViewOp {
 public:
  explicit ReshapeOp(std::vector<std::int64_t> shape) : shape_(std::move(shape)) {
    int unknown = 0;
    for (const std::int64_t extent : shape_) {
      if (extent < -1) throw Error(ErrorKind::shape, type(), str("an extent cannot be ", extent));
      unknown += extent == -1;
    }
    if (unknown > 1) throw Error(ErrorKind::shape, type(), "only one extent can be -1");
    if (shape_.size() > Shape::kMaxRank)
      throw Error(ErrorKind::shape, type(), str("at most ", Shape::kMaxRank, " axes, got ", shape_.size()));
  }
  std::string_view type() const override { return "reshape"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("shape", Attribute(shape_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const Shape& x = in[0].shape;
    std::vector<std::int64_t> dims = shape_;
    std::int64_t known = 1;
    std::size_t unknown = dims.size();
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == 0) {
        if (static_cast<int>(i) >= x.rank())
          throw Error(ErrorKind::shape, type(), str("extent 0 keeps axis ", i, ", which ", x, " does not have"));
        dims[i] = x[static_cast<int>(i)];
      }
      if (dims[i] == -1) {
        unknown = i;
      } else {
        known = checked_mul(known, dims[i], "reshape");
      }
    }
    if (unknown < dims.size()) {
      if (known == 0 ? x.numel() != 0 : x.numel() % known != 0) mismatch(x);
      dims[unknown] = known == 0 ? 0 : x.numel() / known;
    } else if (known != x.numel()) {
      mismatch(x);
    }
    return {{Shape(std::span<const std::int64_t>(dims)), in[0].dtype}};
  }

 private:
  [[noreturn]] void mismatch(const Shape& x) const {
    std::string wanted;
    for (const std::int64_t extent : shape_) wanted += str(wanted.empty() ? "" : ", ", extent);
    throw Error(ErrorKind::shape, type(), str(x, " holds ", x.numel(), " elements, which do not make [", wanted, "]"));
  }
  std::vector<std::int64_t> shape_;
};

class SliceBatchOp final : public Op {
 public:
  SliceBatchOp(std::int64_t begin, std::int64_t end) : begin_(begin), end_(end) {
    if (begin < 0 || end < begin) throw Error(ErrorKind::shape, type(), str("no such range: ", begin, " to ", end));
  }
  std::string_view type() const override { return "slice_batch"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("begin", Attribute(begin_));
    a.set("end", Attribute(end_));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const Shape& x = in[0].shape;
    if (x.rank() < 1 || end_ > x[0])
      throw Error(ErrorKind::shape, type(), str("samples ", begin_, " to ", end_, " do not exist in ", x));
    return {{x.with_dim(0, end_ - begin_), in[0].dtype}};
  }
  void forward(ForwardContext& context) const override { context.out[0] = context.in[0].slice(begin_, end_); }
  void backward(BackwardContext& context) const override {
    Tensor& dx = allocate_grad(context, 0);
    dx.zero();
    dx.slice(begin_, end_).copy_from(context.grad_out[0]);
  }
  Keep keep() const override { return {0, 0}; }

 private:
  std::int64_t begin_, end_;
};

class ConcatOp final : public Op {
 public:
  explicit ConcatOp(int axis) : axis_(axis) {}

  std::string_view type() const override { return "concat"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("axis", axis_);
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    if (in.empty()) throw Error(ErrorKind::usage, type(), "takes at least one operand");
    check_operands(type(), in, in.size(), in.size());
    const DType dtype = check_maps(type(), in);
    const Shape& first = in[0].shape;
    const int axis = normal_axis(type(), axis_, first.rank());
    std::int64_t extent = 0;
    for (const TensorSpec& spec : in) {
      if (spec.shape.rank() != first.rank() || spec.shape.with_dim(axis, 0) != first.with_dim(axis, 0)) {
        throw Error(
            ErrorKind::shape, type(),
            str("cannot join ", first, " and ", spec.shape, " along axis ", axis, ": the other extents must agree"));
      }
      extent += spec.shape[axis];
    }
    return {{first.with_dim(axis, extent), dtype}};
  }
  void forward(ForwardContext& context) const override {
    std::vector<ConstView> parts;
    for (const Tensor& t : context.in) parts.push_back(t.view());
    kernels::concat_forward(normal_axis(type(), axis_, context.in[0].rank()), parts, context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    std::vector<View> parts;
    for (std::size_t i = 0; i < context.in_spec.size(); ++i) parts.push_back(allocate_grad(context, i).mutable_view());
    kernels::concat_backward(normal_axis(type(), axis_, context.in_spec[0].shape.rank()), context.grad_out[0].view(),
                             parts);
  }
  Keep keep() const override { return {0, 0}; }

 private:
  int axis_;
};

class ResizeOp final : public Op {
 public:
  ResizeOp(Size2 size, const ResizeParams& params) : size_(size), params_(params) {
    if (size.h < 1 || size.w < 1) throw Error(ErrorKind::usage, type(), "the result size must be at least 1×1");
  }
  std::string_view type() const override { return "resize"; }
  Attributes attributes() const override {
    Attributes a;
    set_size(a, "size", size_);
    a.set("filter", kFilters[static_cast<int>(params_.filter)]);
    a.set("antialias", Attribute(params_.antialias));
    a.set("align_corners", Attribute(params_.align_corners));
    return a;
  }
  static OpPtr make(const Attributes& a) {
    ResizeParams params;
    const std::string& name = a.get_string("filter");
    int filter = 0;
    while (filter < 3 && name != kFilters[filter]) ++filter;
    if (filter == 3) throw Error(ErrorKind::format, "resize", str("unknown filter '", name, "'"));
    params.filter = static_cast<ResizeFilter>(filter);
    params.antialias = a.get_bool("antialias");
    params.align_corners = a.get_bool("align_corners");
    return std::make_shared<ResizeOp>(get_size(a, "size", 1), params);
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 1, 1);
    const DType dtype = check_floating(type(), in);
    check_rank(type(), "input", in[0], 4, "NHWC");
    const Shape& x = in[0].shape;
    if (x[1] * x[2] == 0) throw Error(ErrorKind::shape, type(), str("an image without pixels cannot be resized: ", x));
    return {{Shape{x[0], size_.h, size_.w, x[3]}, dtype}};
  }
  void forward(ForwardContext& context) const override {
    kernels::resize_forward(params_, context.in[0].view(), context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    kernels::resize_backward(params_, context.grad_out[0].view(), allocate_grad(context, 0).mutable_view());
  }
  Keep keep() const override { return {0, 0}; }

 private:
  static constexpr const char* kFilters[] = {"nearest", "bilinear", "bicubic"};
  Size2 size_;
  ResizeParams params_;
};

}  // namespace

OpPtr ops::make_flatten(const Attributes&) { return std::make_shared<FlattenOp>(); }
OpPtr ops::make_identity(const Attributes&) { return std::make_shared<IdentityOp>(); }
OpPtr ops::make_reshape(const Attributes& a) { return std::make_shared<ReshapeOp>(a.get_ints("shape")); }
OpPtr ops::make_slice_batch(const Attributes& a) {
  return std::make_shared<SliceBatchOp>(a.get_int("begin"), a.get_int("end"));
}
OpPtr ops::make_concat(const Attributes& a) {
  return std::make_shared<ConcatOp>(a.get_int_in("axis", -Shape::kMaxRank, Shape::kMaxRank - 1));
}
OpPtr ops::make_resize(const Attributes& a) { return ResizeOp::make(a); }

Tensor flatten(const Tensor& x) { return run_op1(std::make_shared<FlattenOp>(), {x}); }
Tensor identity(const Tensor& x) { return run_op1(std::make_shared<IdentityOp>(), {x}); }

Tensor reshape(const Tensor& x, std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> dims(shape.begin(), shape.end());
  if (!dims.empty() && x.rank() > 0 && dims[0] == x.dim(0)) dims[0] = 0;
  return run_op1(std::make_shared<ReshapeOp>(std::move(dims)), {x});
}

Tensor slice_batch(const Tensor& x, std::int64_t begin, std::int64_t end) {
  return run_op1(std::make_shared<SliceBatchOp>(begin, end), {x});
}

Tensor concat(std::span<const Tensor> parts, int axis) {
  return std::move(run_op(std::make_shared<ConcatOp>(axis), parts).front());
}

Tensor resize(const Tensor& x, Size2 size, const ResizeParams& params) {
  return run_op1(std::make_shared<ResizeOp>(size, params), {x});
}

}  // namespace fovea
