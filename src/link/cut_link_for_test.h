// For tests: a link that breaks before a frame leaves.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "link/link.h"

namespace mapl::link {

class CutLink : public Link {
 public:
  // `breaks_before` is asked for each frame, by the thread that sends.
  CutLink(std::unique_ptr<Link> inner, std::function<bool(const Frame&)> breaks_before)
      : inner_(std::move(inner)), breaks_before_(std::move(breaks_before)) {}

  Status send(Frame&& frame, Deadline deadline) override {
    if (breaks_before_(frame)) {
      inner_->close();
      return {Code::kPeerLost, "the connection broke"};
    }
    return inner_->send(std::move(frame), deadline);
  }
  Result<Frame> recv(Deadline deadline) override { return inner_->recv(deadline); }
  Status health() override { return inner_->health(); }
  Status flush(Deadline deadline) override { return inner_->flush(deadline); }
  void close() noexcept override { inner_->close(); }

 private:
  std::unique_ptr<Link> inner_;
  std::function<bool(const Frame&)> breaks_before_;
};

}  // namespace mapl::link
