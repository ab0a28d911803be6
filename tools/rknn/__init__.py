"""RK3588's NPU: conversion by Rockchip's toolkit in an environment of its own, its simulator, and what they tell."""
