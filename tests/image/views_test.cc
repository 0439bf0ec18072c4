// Mirror images, and answers for both views.
#include "image/views.h"

#include "catch.h"
#include "core/error.h"

using namespace fovea;

TEST_CASE("mirror images have their columns from right to left", "[image]") {
  // Two pictures of 1×3 pixels with two channels.
  const Tensor x = Tensor::from<float>({2, 1, 3, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(image::mirrored(x).to_vector<float>() == std::vector<float>{5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8});
  CHECK(image::mirrored(image::mirrored(x)).to_vector<float>() == x.to_vector<float>());
  CHECK(image::mirrored(Tensor::zeros({0, 4, 4, 3})).shape() == Shape{0, 4, 4, 3});
  CHECK_THROWS_AS(image::mirrored(Tensor::zeros({4, 4, 3})), Error);
}

TEST_CASE("answers of mirrored preprocessing are the mean over both views", "[image]") {
  const Tensor x = Tensor::from<float>({1, 1, 2, 1}, {1, 3});
  int calls = 0;
  const auto forward = [&](const Tensor& view) {
    ++calls;
    return Tensor::from<float>({1, 2}, {10 * view.data<float>()[0], view.data<float>()[1]});
  };
  image::Preprocessing p;
  CHECK(image::forward_views(p, x, forward).to_vector<float>() == std::vector<float>{10, 3});
  CHECK(calls == 1);
  p.mirrored = true;
  CHECK(image::forward_views(p, x, forward).to_vector<float>() == std::vector<float>{20, 2});
  CHECK(calls == 3);
}

TEST_CASE("models' files say whether answers are of both views, older ones that they are not", "[image]") {
  image::Preprocessing p;
  CHECK(image::to_json(p).find("mirrored") == std::string::npos);
  CHECK(image::preprocessing_from_json(image::to_json(p)) == p);
  p.mirrored = true;
  CHECK(image::preprocessing_from_json(image::to_json(p)) == p);
}
