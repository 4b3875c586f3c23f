//! What is written is read back.

use proptest::prelude::*;
use proptest::sample::Index;

use super::any::*;
use crate::format::*;
use crate::ids::Slot;

proptest! {
    #[test]
    fn a_header_is_read_back_at_both_ends(header in any_header()) {
        for place in [header.layout.first_header(), header.layout.last_header()] {
            let bytes = header.encode(&place);
            prop_assert_eq!(bytes.len(), 4096);
            prop_assert_eq!(Header::decode(place.offset, &bytes), Ok(header.clone()));
        }
    }

    #[test]
    fn a_claim_is_read_back(layout in any_layout(), claim in any_claim(256), slot in any::<Index>()) {
        let slot = Slot(u16::try_from(slot.index(layout.max_hosts().into())).unwrap());
        let (claim, place) = (Claim { slot, ..claim }, layout.claim(slot));
        let bytes = claim.encode(&place);
        prop_assert_eq!(bytes.len(), layout.unit().len_bytes());
        prop_assert_eq!(Claim::decode(&place, &bytes), Ok(claim));
    }

    #[test]
    fn a_host_record_is_read_back_from_both_copies(record in any_host_record(3)) {
        for copy in RecordCopy::BOTH {
            let place = small_layout().host_record(record.incarnation.slot, copy);
            prop_assert_eq!(HostRecord::decode(&place, &record.encode(&place)), Ok(record.clone()));
        }
    }

    #[test]
    fn an_observer_sector_is_read_back(sector in any_observer(), index in 0..OBSERVER_SECTORS) {
        let place = small_layout().observer(index);
        prop_assert_eq!(ObserverSector::decode(&place, &sector.encode(&place)), Ok(sector));
    }

    #[test]
    fn a_journal_note_is_read_back(note in any_note(3), index in 0..JOURNAL_RING) {
        let place = small_layout().journal(note.writer.slot, index);
        prop_assert_eq!(JournalNote::decode(&place, &note.encode(&place)), Ok(note));
    }

    #[test]
    fn a_lease_page_sector_is_read_back(page in any_lease_page(3)) {
        for copy in RecordCopy::BOTH {
            let place = small_layout().lease_page(0, page.incarnation.slot, copy);
            prop_assert_eq!(LeasePage::decode(&place, &page.encode(&place)), Ok(page.clone()));
        }
    }

    #[test]
    fn a_text_that_is_cut_fits_prints_and_stays_itself(text in any::<String>()) {
        let name = HostName::cut(&text);
        prop_assert!(name.as_str().len() <= 48);
        prop_assert!(!name.as_str().contains(char::is_control));
        prop_assert_eq!(HostName::exact(name.as_str()), Some(name));
    }

    #[test]
    fn a_promise_is_never_written_shorter_than_it_is(ns in 0..u64::from(u32::MAX) * 1_000_000) {
        let ttl = std::time::Duration::from_nanos(ns);
        let record = HostRecord { terms: crate::terms::Terms { lease_ttl: ttl, ..Default::default() }, ..Default::default() };
        let place = small_layout().host_record(Slot(0), RecordCopy::A);
        let read = HostRecord::decode(&place, &record.encode(&place)).unwrap();
        prop_assert!(read.terms.lease_ttl >= ttl);
    }
}
