//! The agents that ask for the page, and the service manager, which keeps it.

use leasefence_core::fencing::{CopyUse, Offer, RestoredPage};
use leasefence_core::ids::BootId;
use leasefence_page::{FencerPage, Page, link};

use super::Daemon;

impl Daemon {
    /// Tells the service manager that all is ready, and to keep the page.
    pub(super) fn manager_hears(&mut self) {
        let page = self.hands.page.page();
        if let Err(error) = self.manager.store_page(page).and_then(|()| self.manager.ready()) {
            self.hands.log.line(format_args!("warning: the service manager does not take notes: {error}"));
        }
    }

    /// Hands the page to agents that ask, and takes a copy over where this fencer has lost its own.
    pub(super) fn serve_agents(&mut self) {
        while let Some(link::Offer { id, boot_id, page }) = self.server.poll() {
            if let Some(copy) = page
                && !copy.is_same(self.hands.page.page()).unwrap_or(true)
            {
                self.consider(boot_id, copy);
            }
            if let Err(error) = self.server.welcome(id, self.hands.page.page()) {
                self.hands.log.line(format_args!("warning: {error}"));
            }
        }
    }

    fn consider(&mut self, boot_id: BootId, copy: Page) {
        let mut copy = FencerPage::new(copy);
        let own = copy.read_own();
        let agent = copy.read_agent();
        let offer = Offer { boot_id, agent, in_hand: self.hands.page.read_agent() };
        let how = self.fencer.judge_offer(&offer);
        let restored = RestoredPage::read(own.as_ref(), agent);
        let taken = self.fencer.take_offer(&leasefence_clock::now(), how, self.hands.state.read(), &restored);
        self.hands.log.line(match how {
            CopyUse::Refuse => "an agent's copy of the page refused: this one's own page is used",
            CopyUse::Restart => "page taken over from the agent's copy",
            CopyUse::KeepEnded => "page taken over from the agent's copy; the lease stays ended",
        });
        if how != CopyUse::Refuse {
            let listed = own.good().unwrap_or_default().processes;
            self.hands.discovery.hold_again(&listed);
        }
        if taken {
            self.hands.page = copy;
            self.hands.answered = None;
            self.watchdog.tell_again();
            self.hands.reset.tell_again();
            if let Some(known) = self.hands.page.read_watchdog_report() {
                self.watchdog.go_on(&known);
            }
            self.manager_hears();
        }
    }
}
