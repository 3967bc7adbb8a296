// Optional packages for thumbnails, waveforms and link previews: not there, which Baileys expects.
export default undefined
