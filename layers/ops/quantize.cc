#include "layers/ops/quantize.h"

#include "core/autograd/tape.h"
#include "layers/ops/factories.h"
#include "layers/ops/op_support.h"

namespace fovea {
namespace {

using namespace ops;

class FakeQuantizeOp final : public Op {
 public:
  explicit FakeQuantizeOp(const QuantizeRange& range) : range_(range) {}

  std::string_view type() const override { return "fake_quantize"; }
  Attributes attributes() const override {
    Attributes a;
    a.set("zero", Attribute(std::int64_t{range_.zero}));
    a.set("low", Attribute(std::int64_t{range_.low}));
    a.set("high", Attribute(std::int64_t{range_.high}));
    return a;
  }
  std::vector<TensorSpec> infer(Specs in) const override {
    check_operands(type(), in, 2, 2);
    return {{in[0].shape, check_floating(type(), in)}};
  }
  void forward(ForwardContext& context) const override {
    kernels::fake_quantize_forward(range_, context.in[0].view(), context.in[1].view(),
                                   context.allocate().mutable_view());
  }
  void backward(BackwardContext& context) const override {
    const std::optional<View> dx = wanted_grad(context, 0), dscale = wanted_grad(context, 1);
    kernels::fake_quantize_backward(range_, context.in[0].view(), context.in[1].view(), context.grad_out[0].view(), dx,
                                    dscale);
  }

 private:
  QuantizeRange range_;
};

}  // namespace

OpPtr ops::make_fake_quantize(const Attributes& a) {
  constexpr int kLargest = 1 << 20;
  return std::make_shared<FakeQuantizeOp>(QuantizeRange{static_cast<int>(a.get_int_in("zero", -kLargest, kLargest)),
                                                        static_cast<int>(a.get_int_in("low", -kLargest, kLargest)),
                                                        static_cast<int>(a.get_int_in("high", -kLargest, kLargest))});
}

Tensor fake_quantize(const Tensor& x, const Tensor& scale, const QuantizeRange& range) {
  return run_op1(std::make_shared<FakeQuantizeOp>(range), {x, scale});
}

}  // namespace fovea
