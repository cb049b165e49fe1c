import type { OptionHandler } from '../handshake/negotiation.js';
import { OptionType } from '../protocol/constants.js';
import { handleAbort } from './abort.js';
import { handleExportName } from './export-name.js';
import { handleExtendedHeaders } from './extended-headers.js';
import { handleGo, handleInfo } from './info-go.js';
import { handleList } from './list.js';
import { handleListMetaContext, handleSetMetaContext } from './meta-context.js';
import { handleStartTls } from './start-tls.js';
import { handleStructuredReply } from './structured-reply.js';

/** Every option the server knows. Any other is drained and answered ERR_UNSUP. */
export const OPTION_HANDLERS: ReadonlyMap<number, OptionHandler> = new Map<number, OptionHandler>([
  [OptionType.exportName, handleExportName],
  [OptionType.abort, handleAbort],
  [OptionType.list, handleList],
  [OptionType.startTls, handleStartTls],
  [OptionType.info, handleInfo],
  [OptionType.go, handleGo],
  [OptionType.structuredReply, handleStructuredReply],
  [OptionType.listMetaContext, handleListMetaContext],
  [OptionType.setMetaContext, handleSetMetaContext],
  [OptionType.extendedHeaders, handleExtendedHeaders],
]);
