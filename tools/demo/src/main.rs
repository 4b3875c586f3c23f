//! `make demo`.
use leasefence_demo::{Binaries, Host, RunDir, checker, guest::Guest, init, record::Disk, wait};
use std::path::Path;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments[1].as_str() {
        "host-enter" => println!("{:?}", init::enter(Path::new(&arguments[2]))),
        "host-init" => println!("{:?}", init::run(Path::new(&arguments[2]))),
        _ => {
            wait::catch_interrupts().unwrap();
            let mut run = RunDir::create(Path::new("/var/tmp/leasefence-demo")).unwrap();
            run.keep();
            let binaries = Binaries::at(Path::new(&arguments[1])).unwrap();
            let binaries = binaries.copy_to(&run.path().join("bin")).unwrap();
            let mut hosts: Vec<_> = (1..=3).map(|n| Host::create(&run, &binaries, n).unwrap()).collect();
            let t = std::time::Instant::now();
            for host in &mut hosts {
                host.power_on().unwrap();
            }
            println!("{:?}", t.elapsed());
            for host in &mut hosts {
                host.wait_for_libvirt().unwrap();
                println!("{:?}", t.elapsed());
            }
            let guest =
                Guest::create(&run.shared(), "guest", "5d5b1f2e-0000-4000-8000-000000000001").unwrap();
            println!("{:?}", t.elapsed());
            guest.start(&hosts[0]).unwrap();
            println!("{:?}", t.elapsed());
            wait::pause(std::time::Duration::from_secs(2)).unwrap();
            println!("{:?}", hosts[0].process("qemu-system-x86_64"));
            hosts[0].power_off();
            println!("off {:?}", t.elapsed());
            guest.start(&hosts[1]).unwrap();
            println!("{:?}", t.elapsed());
            wait::pause(std::time::Duration::from_secs(1)).unwrap();
            println!("{:?}", checker::check(&Disk::open(guest.disk()).unwrap().log().unwrap()));
            guest.start(&hosts[2]).unwrap();
            wait::pause(std::time::Duration::from_secs(1)).unwrap();
            println!("{:?}", checker::check(&Disk::open(guest.disk()).unwrap().log().unwrap()));
        }
    }
}
