export const VERSION = '0.1.0';
/** Told to other processes of the system when they connect. */
export const SOFTWARE = `gatepath ${VERSION}`;
