"""Realtime transcription protocols, one file each: messages and events, no socket.

Every protocol sends JSON text frames and carries audio as base64 PCM16 mono:

=========  ==========================  ===================================  ======================
           vllm (and our ``serve``)    mistral                              openai
=========  ==========================  ===================================  ======================
greeting   session.created             session.created                      session.created
configure  session.update, no reply    session.update -> session.updated    the same as mistral
start      commit(final=false)
audio      input_audio_buffer.append   input_audio.append                   as vllm, at 24 kHz
end        commit(final=true)          input_audio.flush, input_audio.end   commit
text       transcription.delta         transcription.text.delta             ....delta, of an item
final      transcription.done          transcription.done                   ....completed
=========  ==========================  ===================================  ======================
"""
