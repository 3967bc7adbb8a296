// Stands for optional packages for thumbnails, waveforms and link previews: Baileys goes without what it cannot
// import.
export default undefined
