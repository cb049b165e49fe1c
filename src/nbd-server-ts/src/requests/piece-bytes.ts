const PAGE_MASK = 4_095;

/** The next piece: as long as may be, and so that what follows begins at a 4 KiB block of the export. */
export function pieceBytes(offsetBytes: number, remainingBytes: number, maxBytes: number): number {
  return remainingBytes <= maxBytes ? remainingBytes : maxBytes - (offsetBytes & PAGE_MASK);
}
