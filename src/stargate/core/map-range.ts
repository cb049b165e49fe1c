import { MAX_MAP_EXTENTS, type PathRequest } from '../../wire/path.js';
import { IoStatus } from '../../wire/status.js';
import { MapFlags } from '../../wire/vdisk-command.js';
import { Where } from './block-index.js';
import type { Controller } from './controller.js';
import { MAX_MAP_BLOCKS } from './limits.js';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, BlockState, newBlockStates } from './ports.js';

const DATA = MapFlags.data;
const HOLE_AND_ZERO = MapFlags.hole;

/** Of a MAP request, as much as is needed here. */
export type MapTarget = Pick<PathRequest, 'offsetBytes' | 'lengthBytes' | 'extents' | 'extentCount'>;
const CHUNK_BLOCKS = 64;
const states = newBlockStates(CHUNK_BLOCKS);

/**
 * Fills `request.extents` with what is allocated from `offsetBytes` on: blocks with data, and blocks that read as zeroes and take no space. It may
 * end before the request does: at the limit of extents, or of blocks looked at in one call. `zeroFlags`: of blocks that were
 * written to, and hold zeroes: they take no space, so NBD's clients are told of a hole.
 */
export function mapRange(controller: Controller, request: MapTarget, zeroFlags: number = HOLE_AND_ZERO): IoStatus {
  const end = request.offsetBytes + request.lengthBytes;
  let at = request.offsetBytes;
  let looked = 0;
  request.extentCount = 0;
  while (at < end && looked < MAX_MAP_BLOCKS) {
    const block = Math.floor(at / BLOCK_BYTES);
    const segment = Math.floor(block / BLOCKS_PER_SEGMENT);
    const segmentEnd = (segment + 1) * BLOCKS_PER_SEGMENT * BLOCK_BYTES;
    if (isUnused(controller, segment)) {
      const stop = Math.min(end, segmentEnd);
      if (!add(request, stop - at, HOLE_AND_ZERO)) return IoStatus.ok;
      at = stop;
      looked++;
      continue;
    }
    const inSegment = block % BLOCKS_PER_SEGMENT;
    const blocks = Math.min(CHUNK_BLOCKS, BLOCKS_PER_SEGMENT - inSegment, Math.ceil((end - at) / BLOCK_BYTES) + 1);
    controller.ports.store.lookup(controller.state.layer, segment, inSegment, blocks, states);
    for (let i = 0; i < blocks && at < end; i++) {
      const where = controller.index.find(block + i);
      const state = where === Where.log ? BlockState.data : where === Where.zero ? BlockState.zero : states.state[i];
      // What is lost is for reads to find, and to have told them by others.
      const flags = state === BlockState.data || state === BlockState.lost ? DATA : state === BlockState.zero ? zeroFlags : HOLE_AND_ZERO;
      const stop = Math.min(end, (block + i + 1) * BLOCK_BYTES);
      if (!add(request, stop - at, flags)) return IoStatus.ok;
      at = stop;
    }
    looked += blocks;
  }
  return IoStatus.ok;
}

function isUnused(controller: Controller, segment: number): boolean {
  return controller.index.segment(segment) === undefined && controller.ports.store.drainSeq(controller.state.layer, segment) === 0;
}

function add(request: MapTarget, lengthBytes: number, flags: number): boolean {
  const { extents, extentCount } = request;
  if (extentCount > 0 && extents[extentCount * 2 - 1] === flags) {
    extents[extentCount * 2 - 2]! += lengthBytes;
    return true;
  }
  if (extentCount === MAX_MAP_EXTENTS) return false;
  extents[extentCount * 2] = lengthBytes;
  extents[extentCount * 2 + 1] = flags;
  request.extentCount++;
  return true;
}
