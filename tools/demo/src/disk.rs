//! The guest's disk, read past the page cache: a disk in use, a block device, or a copied image.

use std::io;
use std::path::Path;

use crate::direct::DirectFile;
use crate::layout::{BLOCK_BYTES, Content, Layout, Place, REGION_BLOCKS};

/// The guest's disk, open for reading.
#[derive(Debug)]
pub struct Disk {
    file: DirectFile,
    layout: Layout,
}

impl Disk {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened, or is too small to be one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = DirectFile::open(path)?;
        let size = file.size_bytes()?;
        let layout = Layout::of(size)
            .ok_or_else(|| io::Error::other(format!("{size} bytes are no disk of the guest: too small")))?;
        Ok(Self { file, layout })
    }

    /// All claims, by life.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn claims(&self) -> io::Result<Vec<Content>> {
        self.blocks(0, self.layout.lives)
    }

    /// What one place of a life's region holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(&self, life: u32, place: Place) -> io::Result<Content> {
        let mut blocks = self.blocks(self.layout.region(life) + place.block(), 1)?;
        Ok(blocks.pop().unwrap_or(Content::Empty))
    }

    /// All that it holds. The guest may run meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn picture(&self) -> io::Result<Picture> {
        let claims = self.claims()?;
        let mut regions = Vec::new();
        for (life, claim) in (0..).zip(&claims) {
            let mut region = Region { blocks: self.blocks(self.layout.region(life), REGION_BLOCKS)? };
            // A life that has begun since the claims were read is left out.
            if *claim == Content::Empty && !region.is_empty() && self.blocks(life, 1)? != [Content::Empty] {
                region.blocks.fill(Content::Empty);
            }
            regions.push(region);
        }
        Ok(Picture { layout: self.layout, claims, regions })
    }

    fn blocks(&self, first: u32, count: u32) -> io::Result<Vec<Content>> {
        let bytes = |blocks| usize::try_from(blocks).map(|n| n * BLOCK_BYTES).map_err(io::Error::other);
        let bytes = self.file.read(bytes(first)?, bytes(count)?)?;
        Ok(bytes.chunks_exact(BLOCK_BYTES).map(Content::parse).collect())
    }
}

/// What the disk held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Its layout.
    pub layout: Layout,
    /// Claims, by life.
    pub claims: Vec<Content>,
    /// Regions, by life.
    pub regions: Vec<Region>,
}

/// What one life's region held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    blocks: Vec<Content>,
}

impl Region {
    /// A region that nobody has written to.
    #[must_use]
    pub fn empty() -> Self {
        Self { blocks: (0..REGION_BLOCKS).map(|_| Content::Empty).collect() }
    }

    /// Whether nobody has written to it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.iter().all(|block| *block == Content::Empty)
    }

    /// What it holds at a place.
    #[must_use]
    pub fn at(&self, place: Place) -> &Content {
        usize::try_from(place.block())
            .ok()
            .and_then(|block| self.blocks.get(block))
            .unwrap_or(&Content::Empty)
    }

    /// Puts something there.
    pub fn put(&mut self, place: Place, content: Content) {
        let block = usize::try_from(place.block()).ok().and_then(|block| self.blocks.get_mut(block));
        if let Some(block) = block {
            *block = content;
        }
    }
}
