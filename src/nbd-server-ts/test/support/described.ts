import type { Export, ExportDirectory, ExportFeatures } from '../../src/export.js';
import type { Negotiation } from '../../src/handshake/negotiation.js';

export const ALL_FEATURES: ExportFeatures = {
  flush: true,
  fua: true,
  trim: true,
  writeZeroes: true,
  fastZero: true,
  cache: true,
  multiConn: true,
  rotational: false,
  blockStatus: true,
};

export interface Description extends Partial<Omit<Export, 'features' | 'open'>> {
  readonly features?: Partial<ExportFeatures>;
}

/** An export as the handshake sees it: what it says of itself. It is never opened. */
export function described({ features, ...rest }: Description = {}): Export {
  return {
    name: 'disk',
    description: '',
    sizeBytes: 1 << 20,
    readOnly: false,
    blockSize: { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 32 << 20 },
    ...rest,
    features: { ...ALL_FEATURES, ...features },
    open() {
      throw new Error('the handshake opens no export');
    },
  };
}

/** The first is the default export. */
export function directoryOf(...exports: Export[]): ExportDirectory {
  return { find: name => (name === '' ? exports[0] : exports.find(one => one.name === name)), list: () => exports };
}

export function negotiationOf(...exports: Export[]): Negotiation {
  return {
    directory: directoryOf(...exports),
    noZeroes: true,
    structuredReplies: true,
    extendedHeaders: false,
    metaExportName: null,
    contextMask: 0,
    tls: 'off',
    secure: false,
    offerList: true,
    shuttingDown: false,
  };
}
