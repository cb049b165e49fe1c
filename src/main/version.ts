/** Told to other processes of the system when they connect. */
export const SOFTWARE = 'gatepath 0.1.0';
